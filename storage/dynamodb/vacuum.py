"""The removal of what is of no more use."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from torpor.storage.dynamodb.indexes import (
    is_hint,
    is_index,
    is_note,
    item_age,
    merged,
    partitions,
    target_of,
)
from torpor.storage.dynamodb.items import (
    due_partition,
    index_partition,
    key_of,
    record_key,
    rubbish_partition,
)
from torpor.storage.dynamodb.listing import valid_hints
from torpor.storage.dynamodb.stored import Stored, load
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torpor.storage.dynamodb.items import Key
    from torpor.storage.dynamodb.table import Table

__all__ = ["vacuum"]

T = TypeVar("T")

_AT_ONCE = 100  # as many as one BatchGetItem reads


def vacuum(table: Table, before: float) -> int:
    """Remove tombstones older than ``before``, and what crashes left; return how many of them.

    What writers prepared before that time and no record refers to is taken to be of no use.
    """
    _remove_hints(table, before)
    _remove_rubbish(table, before)
    return sum(_remove_tombstones(table, space, before) for space in Space)


def _remove_hints(table: Table, before: float) -> None:
    hints = filter(is_hint, merged(table, partitions(due_partition), table.deadline))
    for some in _chunks(hint for hint in hints if item_age(hint) < before):
        valid = valid_hints(table, some)
        table.write_all(
            table.deadline(),
            deletes=[key_of(hint) for hint in some if key_of(hint) not in valid],
        )


def _remove_rubbish(table: Table, before: float) -> None:
    notes = filter(is_note, merged(table, partitions(rubbish_partition), table.deadline))
    for some in _chunks(note for note in notes if item_age(note) < before):
        used: set[str | None] = set()
        damaged: set[tuple[Space, str]] = set()
        for space in Space:
            keys = [target_of(note)[1] for note in some if target_of(note)[0] is space]
            for key, stored in load(table, space, keys, table.deadline()).items():
                if isinstance(stored, Stored):
                    used |= {stored.body, stored.journal.partition}
                else:
                    damaged.add((space, key))
        sure = [note for note in some if target_of(note) not in damaged]
        names = [note["partition"]["S"] for note in sure]
        table.empty([(name, None) for name in names if name not in used], table.deadline())
        table.write_all(table.deadline(), deletes=map(key_of, sure))


def _remove_tombstones(table: Table, space: Space, before: float) -> int:
    index = merged(table, partitions(partial(index_partition, space)), table.deadline)
    count = 0
    for some in _chunks(filter(is_index, index)):
        keys = {key_of(item)[1]: item for item in some}
        deadline = table.deadline()
        stored = load(table, space, list(keys), deadline)
        old = [
            (record_key(space, key), tombstone.change)
            for key, tombstone in stored.items()
            if isinstance(tombstone, Stored)
            and tombstone.record.deleted
            and tombstone.record.updated_at < before
        ]
        removed = _delete_if(table, old, "change", deadline)
        count += len(removed)
        gone = [
            (key_of(item), item["name"]["S"])
            for key, item in keys.items()
            if record_key(space, key) in removed or (key not in stored and item_age(item) < before)
        ]
        _delete_if(table, gone, "name", deadline)
    return count


def _delete_if(
    table: Table, items: Sequence[tuple[Key, str]], attribute: str, deadline: float
) -> set[Key]:
    """Delete the items whose attribute has the value beside them; return the keys of these."""
    deleted = table.parallel(
        [
            partial(table.delete_if, key, deadline, attribute=attribute, value=value)
            for key, value in items
        ]
    )
    return {key for (key, _), was in zip(items, deleted, strict=True) if was}


def _chunks(values: Iterable[T]) -> Iterator[list[T]]:
    values = iter(values)
    while some := list(islice(values, _AT_ONCE)):
        yield some
