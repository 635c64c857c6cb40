"""Bringing entries to their places when several writers may want the same ones.

A place, thread and seq, holds one document. Who inserts there never replaces what is there: it
may belong to a writer that is just about to publish its record. If it stays there for a while,
its writer is thought to be dead. Then its place is taken, in this order:

1. Look at what is there.
2. Give the record a new etag, and change nothing else, if it is still the one that was read. If
   so, nobody published in between, and now none of those seen can publish any more.
3. Replace what was seen, each document on the condition that it is that one. Whatever came there
   later is not touched: its writer may know the new etag.

So nothing is ever replaced that a record's head covers, now or later.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, ReplaceOne

from torpor.storage.errors import ThreadMismatchError
from torpor.storage.mongodb import documents
from torpor.storage.mongodb.database import write_unordered
from torpor.storage.mongodb.documents import Stored
from torpor.storage.mongodb.errors import DUPLICATE_KEY, refusal
from torpor.storage.records import Record, Rejected, Space, new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torpor.storage.mongodb.database import Database, Document
    from torpor.storage.mongodb.steps import Step
    from torpor.storage.records import Outcome

__all__ = ["EntryWriter"]

_PATIENT_ROUNDS = 4  # with pauses that double, a few milliseconds in all


class EntryWriter:
    """Writes the entries of many steps at once."""

    def __init__(self, database: Database, *, limit: int) -> None:
        self._database = database
        self._limit = limit

    def write(self, steps: Sequence[Step], outcomes: dict[str, Outcome], rounds: int) -> list[Step]:
        """Return the steps whose entries are all in their places, and those that have none.

        ``rounds`` counts how often these changes have met another writer.
        """
        writing = [(step, entry) for step in steps for entry in step.entries]
        if not writing:
            return list(steps)
        obstructed: set[str] = set()
        for number, code, text in write_unordered(
            self._database.entries,
            [InsertOne(RawBSONDocument(entry.bson)) for _, entry in writing],
        ):
            change = writing[number][0].change
            if code == DUPLICATE_KEY:
                obstructed.add(change.id)
            else:
                size = len(writing[number][1].bson)
                outcomes[change.id] = self._refused(change.key, code, text, size)
        ready: list[Step] = []
        for step in steps:
            if step.change.id in outcomes:
                continue
            if step.change.id not in obstructed:
                ready.append(step)
            elif rounds >= _PATIENT_ROUNDS and (taken := self._take_places(step, outcomes)):
                ready.append(taken)
        return ready

    def _take_places(self, step: Step, outcomes: dict[str, Outcome]) -> Step | None:
        """Return ``step`` with all its entries in place, None if somebody else is active."""
        there = self._occupants(step)
        strays = {place: found for place, found in there.items() if found["etag"] != step.etag}
        if self._are_visible(step, strays.values()):
            error = ThreadMismatchError(_thread_id(step), "another record has a thread of this id")
            outcomes[step.change.id] = Rejected(error)
            return None
        fenced = self._fence(step)
        if fenced is None:
            return None
        writes: list[ReplaceOne[Any]] = [
            # Without a match it inserts, and fails if something else is there now.
            ReplaceOne(
                {"_id": entry.id, "etag": strays[entry.id]["etag"] if entry.id in strays else ""},
                RawBSONDocument(entry.bson),
                upsert=True,
            )
            for entry in step.entries
            if entry.id in strays or entry.id not in there
        ]
        failures = write_unordered(self._database.entries, writes) if writes else []
        for _, code, text in failures:
            if code != DUPLICATE_KEY:
                outcomes[step.change.id] = self._refused(step.change.key, code, text, 0)
        return None if failures else fenced

    def _fence(self, step: Step) -> Step | None:
        """Give the record a new etag; return the step that goes on from it, None if it is late."""
        records = self._database.records[step.change.space]
        etag = new_id()
        if step.stored is not None:
            condition = {"_id": step.change.key, "etag": step.stored.etag}
            result = records.update_one(condition, {"$set": {"etag": etag}})
            if result.matched_count == 0:
                return None
            return replace(step, stored=replace(step.stored, etag=etag))
        # A tombstone without a revision: as good as nothing, but it has an etag.
        nothing = Record(
            key=step.change.key, rev=0, change_id="", updated_at=step.change.at, deleted=True
        )
        encoded = documents.encode_record(
            nothing, etag=etag, incarnation=None, queryable=False, limit=self._limit
        )
        if write_unordered(records, [InsertOne(RawBSONDocument(encoded))]):
            return None
        return replace(step, stored=Stored(nothing, etag, None))

    def _occupants(self, step: Step) -> dict[str, Document]:
        found = self._database.newest_entries.find(step.places, {"etag": True, "incarnation": True})
        return {document["_id"]: document for document in found}

    def _are_visible(self, step: Step, strangers: Iterable[Document]) -> bool:
        """Return whether another record than the step's own points at these entries.

        An agent's thread and a standalone one may be given the same id.
        """
        incarnations = {document["incarnation"] for document in strangers}
        thread_id = _thread_id(step)
        if step.change.space is Space.CHECKPOINTS:
            space, key = Space.THREADS, thread_id
        else:
            space, key = Space.CHECKPOINTS, thread_id.rpartition("#")[0]
        other = self._database.records[space].find_one(
            {"_id": key, "deleted": False}, {"incarnation": True}
        )
        return other is not None and other["incarnation"] in incarnations

    def _refused(self, key: str, code: int, text: str, size: int) -> Rejected:
        place = self._database.place
        return Rejected(refusal(code, text, place, key, size=size, limit=self._limit))


def _thread_id(step: Step) -> str:
    head = step.write.record.thread
    assert head is not None
    return head.id
