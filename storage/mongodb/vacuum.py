"""Removing from a MongoDB store what nobody can reach any more."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

from pymongo import DeleteMany

from torpor.storage.errors import CorruptRecordError
from torpor.storage.mongodb.database import write_unordered
from torpor.storage.mongodb.documents import STORED, decode_record
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torpor.storage.mongodb.database import Database, Document
    from torpor.storage.mongodb.documents import Stored

__all__ = ["vacuum"]

_AT_ONCE = 1000
_YOUNGEST_STRAY = 3600.0  # seconds; a writer between entries and record is not that slow


def vacuum(database: Database, before: float) -> int:
    """Remove tombstones with ``updated_at < before`` and stray entries; count the tombstones.

    Reads the place of every entry. Strays are left by writers that died between entries and
    record, or between record and tidying up; they go when they are older than both ``before``
    and an hour.
    """
    removed = sum(_remove_tombstones(database, space, before) for space in Space)
    oldest = min(before, time.time() - _YOUNGEST_STRAY)
    with database.translated():
        threads = _threads(database, oldest)
        while batch := list(islice(threads, _AT_ONCE)):
            with database.operation():
                _remove_strays(database, batch, oldest)
    return removed


def _remove_tombstones(database: Database, space: Space, before: float) -> int:
    records = database.records[space]
    # What holds more than tombstones do is a damaged record.
    dead = {"deleted": True, "data": None, "thread": None, "updated_at": {"$lt": before}}
    removed = 0
    while True:
        with database.operation():
            ids = [
                document["_id"] for document in records.find(dead, {"_id": True}, limit=_AT_ONCE)
            ]
            if not ids:
                return removed
            removed += records.delete_many({"_id": {"$in": ids}, **dead}).deleted_count


def _threads(database: Database, oldest: float) -> Iterator[Document]:
    """Yield id, incarnation, first and last seq of what has entries written before ``oldest``.

    Without a limit of time: the work of the server grows with the store.
    """
    yield from database.entries.aggregate(
        [
            {
                "$match": {
                    "written_at": {"$lt": oldest},
                    "thread": {"$type": "string"},
                    "incarnation": {"$type": "string"},
                }
            },
            {
                "$group": {
                    "_id": {"thread": "$thread", "incarnation": "$incarnation"},
                    "first": {"$min": "$seq"},
                    "last": {"$max": "$seq"},
                }
            },
        ],
        allowDiskUse=True,
    )


def _remove_strays(database: Database, threads: Sequence[Document], oldest: float) -> None:
    heads = _Heads(database, [thread["_id"]["thread"] for thread in threads])
    removals: list[DeleteMany] = []
    for thread in threads:
        place = thread["_id"]
        stray: Document = {**place, "written_at": {"$lt": oldest}}
        if not heads.are_known(place["thread"]):
            continue
        covered = heads.covered.get((place["thread"], place["incarnation"]))
        if covered is None:
            # Not what a head covers, whatever it says of itself: that is a damaged entry.
            seen = [{"seq": {"$gte": r.start, "$lt": r.stop}} for r in heads.of(place["thread"])]
            removals.append(DeleteMany({**stray, "$nor": seen} if seen else stray))
            continue
        if not (isinstance(thread["first"], int) and isinstance(thread["last"], int)):
            continue
        if thread["first"] < covered.start:
            removals.append(DeleteMany({**stray, "seq": {"$lt": covered.start}}))
        if thread["last"] >= covered.stop:
            removals.append(DeleteMany({**stray, "seq": {"$gte": covered.stop}}))
    if removals:
        write_unordered(database.entries, removals)


class _Heads:
    """What the records say of these threads, whoever owns them."""

    def __init__(self, database: Database, thread_ids: Sequence[str]) -> None:
        self.covered: dict[tuple[str, str | None], range] = {}
        """By thread id and incarnation: the seqs that the head covers."""
        self._unreadable: set[tuple[Space, str]] = set()
        keys = {
            Space.THREADS: set(thread_ids),
            Space.CHECKPOINTS: {_owner(thread_id) for thread_id in thread_ids},
        }
        for space, wanted in keys.items():
            condition = {"_id": {"$in": sorted(wanted)}}
            for document in database.records[space].find(condition, STORED):
                self._add(space, decode_record(document))

    def of(self, thread_id: str) -> list[range]:
        """Return the ranges that heads of this id cover, of whichever incarnation."""
        return [found for (each, _), found in self.covered.items() if each == thread_id]

    def are_known(self, thread_id: str) -> bool:
        """Return whether every record that may point at this thread could be read."""
        places = {(Space.THREADS, thread_id), (Space.CHECKPOINTS, _owner(thread_id))}
        return not places & self._unreadable

    def _add(self, space: Space, found: Stored | CorruptRecordError) -> None:
        if isinstance(found, CorruptRecordError):
            self._unreadable.add((space, found.key))
        elif found.record.thread is not None:
            head = found.record.thread
            self.covered[head.id, found.incarnation] = range(head.start, head.rev)


def _owner(thread_id: str) -> str:
    return thread_id.rpartition("#")[0]
