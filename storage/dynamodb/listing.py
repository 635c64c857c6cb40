"""What there is, and what is due."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from torpor.storage.codec import UNDECODABLE
from torpor.storage.dynamodb.indexes import is_hint, merged, partitions, target_of
from torpor.storage.dynamodb.items import (
    SHARDS,
    due_partition,
    due_sort,
    due_time,
    index_partition,
    key_of,
    record_key,
)
from torpor.storage.dynamodb.stored import Stored, load
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import Due, Record, Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torpor.storage.dynamodb.items import Item, Key
    from torpor.storage.dynamodb.table import Table

__all__ = ["list_due", "list_keys", "list_records", "valid_hints"]

T = TypeVar("T")

_AT_ONCE = 100  # as many as one BatchGetItem reads
_SMALLEST_PAGE = 10
_LARGEST_PAGE = 1000


def list_records(
    table: Table, space: Space, prefix: str, after: str | None, limit: int
) -> list[Record]:
    """Return up to ``limit`` live records by prefix, after the key ``after``, in order."""
    stored = _in_order(table, space, prefix, after, limit)
    live = (found.record for _, found in stored if isinstance(found, Stored) and _lives(found))
    return list(islice(live, limit))


def list_keys(
    table: Table, space: Space, after: str | None, limit: int, *, tombstones: bool
) -> list[str]:
    """Return up to ``limit`` keys after ``after``, in order, those of corrupt records too."""
    stored = _in_order(table, space, "", after, limit)
    keys = (key for key, found in stored if tombstones or _lives(found))
    return list(islice(keys, limit))


def _lives(found: Stored | CorruptRecordError) -> bool:
    return isinstance(found, CorruptRecordError) or not found.record.deleted


def _in_order(
    table: Table, space: Space, prefix: str, after: str | None, limit: int
) -> Iterator[tuple[str, Stored | CorruptRecordError]]:
    """Yield what is stored under keys by prefix; the caller wants about ``limit`` of it."""
    if after is not None and not after.startswith(prefix):
        if after > prefix:
            return
        after = None
    index = merged(
        table,
        partitions(partial(index_partition, space)),
        table.deadline,
        prefix=prefix,
        after=after,
        limit=_page_of_each(limit),
        names="pk, sk",
    )
    keys = (key_of(item)[1] for item in index)
    while some := list(islice(keys, min(limit, _AT_ONCE))):
        stored = load(table, space, some, table.deadline())
        yield from ((key, stored[key]) for key in some if key in stored)


def list_due(table: Table, before: float, limit: int) -> list[Due]:
    """Return up to ``limit`` live records that are due by ``before``, the earliest first."""
    hints = merged(
        table,
        partitions(due_partition),
        table.deadline,
        within=("0", due_sort(before, "~")),
        limit=_page_of_each(limit),
    )
    found: list[Due] = []
    sound = filter(is_hint, hints)
    while len(found) < limit and (some := list(islice(sound, min(limit, _AT_ONCE)))):
        valid = valid_hints(table, some)
        found += (
            Due(*target_of(hint), due_time(key_of(hint)[1]))
            for hint in some
            if key_of(hint) in valid
        )
    return found[:limit]


def _page_of_each(limit: int) -> int:
    """Return how many items to ask each partition for, so that nearly always it is enough."""
    return min(max(_SMALLEST_PAGE, 2 * limit // SHARDS), _LARGEST_PAGE)


def valid_hints(table: Table, hints: Sequence[Item]) -> set[Key]:
    """Return the keys of those hints that their records refer to."""
    records = table.get_all(
        (record_key(*target_of(hint)) for hint in hints), table.deadline(), names="pk, sk, due"
    )
    valid: set[Key] = set()
    for item in records.values():
        with suppress(*UNDECODABLE):  # it has none, or a damaged one, which nothing can be
            partition, sort = item["due"]["L"]
            valid.add((partition["S"], sort["S"]))
    return valid
