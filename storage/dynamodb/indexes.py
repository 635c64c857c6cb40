"""What is listed beside the records, each list in several partitions.

An item of an index is put before the record that needs it, and removed by its own name or on a
condition: whoever lags behind removes nothing that another writer has put since.
"""

from __future__ import annotations

import math
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from torpor.storage.codec import UNDECODABLE
from torpor.storage.dynamodb.items import (
    SHARDS,
    Item,
    due_partition,
    due_sort,
    due_time,
    index_partition,
    key_of,
    place,
    rubbish_partition,
    shard_of,
    text,
)
from torpor.storage.records import Space, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torpor.storage.dynamodb.table import Table

__all__ = [
    "hint_of",
    "index_of",
    "is_hint",
    "is_index",
    "is_note",
    "item_age",
    "merged",
    "note_of",
    "partitions",
    "target_of",
]


def index_of(space: Space, key: str) -> Item:
    """Return the item that lets ``key`` be listed."""
    return {
        **place((index_partition(space, shard_of(key)), key)),
        "name": text(new_id()),
        "at": _now(),
    }


def hint_of(space: Space, key: str, moment: float) -> Item:
    """Return the item that lets ``key`` be found when ``moment`` has come."""
    return {
        **place((due_partition(shard_of(key)), due_sort(moment, new_id()))),
        **_target(space, key),
    }


def note_of(space: Space, key: str, partition: str) -> Item:
    """Return the item that tells which partition is rubbish unless that record uses it."""
    return {
        **place((rubbish_partition(shard_of(key)), new_id())),
        **_target(space, key),
        "partition": text(partition),
    }


def target_of(item: Item) -> tuple[Space, str]:
    """Return the record that a hint or a note is about."""
    return Space(item["space"]["S"]), item["key"]["S"]


def item_age(item: Item) -> float:
    """Return when an item of an index was put."""
    return float(item["at"]["N"])


def is_index(item: Item) -> bool:
    """Return whether it is a sound item of the index of all records; others are let be."""
    with suppress(*UNDECODABLE):
        return isinstance(item["name"]["S"], str) and item_age(item) >= 0
    return False


def is_hint(item: Item) -> bool:
    """Return whether it is a sound hint."""
    with suppress(*UNDECODABLE):
        target_of(item)
        return math.isfinite(due_time(key_of(item)[1])) and item_age(item) >= 0
    return False


def is_note(item: Item) -> bool:
    """Return whether it is a sound note, on a partition that belongs to its record."""
    with suppress(*UNDECODABLE):
        space, key = target_of(item)
        own = (f"body#{space.value}#{key}#", f"entries#{key}#")
        return item["partition"]["S"].startswith(own) and item_age(item) >= 0
    return False


def _target(space: Space, key: str) -> Item:
    return {"space": text(space.value), "key": text(key), "at": _now()}


def _now() -> dict[str, str]:
    return {"N": repr(time.time())}


def partitions(name: Callable[[int], str]) -> list[str]:
    """Return all partitions of an index, of which ``name`` tells one."""
    return [name(shard) for shard in range(SHARDS)]


def merged(
    table: Table, places: Sequence[str], deadline: Callable[[], float], **query: Any
) -> Iterator[Item]:
    """Yield the items of several partitions in the order of their sort keys.

    ``deadline`` is asked for anew for each page; ``query`` is for ``Table.query``.
    """
    after: str | None = query.pop("after", None)
    unfinished: dict[str, str | None] = dict.fromkeys(places, after)
    waiting: dict[str, deque[Item]] = {name: deque() for name in places}
    while True:
        hungry = [name for name in unfinished if not waiting[name]]
        pages = table.parallel(
            [
                partial(table.page, name, deadline(), after=unfinished[name], **query)
                for name in hungry
            ]
        )
        for name, (items, after) in zip(hungry, pages, strict=True):
            waiting[name].extend(items)
            if after is None:
                del unfinished[name]
            else:
                unfinished[name] = after
        ready: list[deque[Item]] = [items for items in waiting.values() if items]
        if not ready and not unfinished:
            return
        while ready and all(waiting[name] for name in unfinished):
            yield min(ready, key=_sort_of_first).popleft()
            ready = [items for items in ready if items]


def _sort_of_first(items: deque[Item]) -> str:
    return key_of(items[0])[1]
