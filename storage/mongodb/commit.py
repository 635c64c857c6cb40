"""Writing one batch of changes into a MongoDB store, without transactions.

Each round takes the changes that are not yet decided through four steps, each of which is one
round trip for the whole batch:

1. Read the records and decide each change against what is stored.
2. Insert the entries at their places behind those that the stored heads cover, where nobody
   sees them (``EntryWriter``).
3. Replace each record, on the condition that it still has the etag that was read: this makes
   the change visible, whole. A crash before leaves entries that the next append replaces.
4. Remove the entries that are of no use now, if any. A crash before leaves what ``vacuum``
   removes.

A change whose record somebody else wrote in between comes to nothing, and goes into the next
round, after a pause.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument
from pymongo import DeleteMany, ReplaceOne

from torpor.storage.errors import (
    CorruptRecordError,
    RecordTooLargeError,
    StorageError,
    StorageUnavailableError,
)
from torpor.storage.mongodb import documents
from torpor.storage.mongodb.database import write_unordered
from torpor.storage.mongodb.documents import ENCODING_ERRORS
from torpor.storage.mongodb.entries import EntryWriter
from torpor.storage.mongodb.errors import DUPLICATE_KEY, refusal
from torpor.storage.mongodb.steps import encode_step, unstorable
from torpor.storage.plan import Write, plan
from torpor.storage.records import Rejected, Space
from torpor.storage.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torpor.storage.mongodb.database import Database
    from torpor.storage.mongodb.documents import Stored
    from torpor.storage.mongodb.steps import Step
    from torpor.storage.records import Change, Outcome

__all__ = ["Committer"]

_NO_ETAG = ""


class Committer:
    """Commits batches; see the module. ``limit`` is the largest document in bytes of BSON."""

    def __init__(self, database: Database, *, queryable: bool, limit: int) -> None:
        self._database = database
        self._queryable = queryable
        self._limit = limit
        self._entries = EntryWriter(database, limit=limit)

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Return the outcome of each change, in order. Raises if outcomes are unknown."""
        deadline = time.monotonic() + self._database.timeout
        outcomes: dict[str, Outcome] = {}
        rounds = 0
        pending = self._round(changes, outcomes, rounds)
        while pending:
            rounds += 1
            time.sleep(min(backoff(rounds), max(0.0, deadline - time.monotonic())))
            if time.monotonic() >= deadline:
                msg = f"{self._database.place}: other writers came first each time"
                raise StorageUnavailableError(msg)
            pending = self._round(pending, outcomes, rounds)
        return [outcomes[change.id] for change in changes]

    def _round(
        self, changes: Sequence[Change], outcomes: dict[str, Outcome], rounds: int
    ) -> list[Change]:
        """Take ``changes`` through the four steps; return those that met another writer."""
        steps = self._decide_all(changes, outcomes)
        saved = self._publish(self._entries.write(steps, outcomes, rounds), outcomes)
        self._tidy(steps, saved)
        return [change for change in changes if change.id not in outcomes]

    # -- 1: decide ----------------------------------------------------------------------------

    def _decide_all(self, changes: Sequence[Change], outcomes: dict[str, Outcome]) -> list[Step]:
        stored = self._read(changes)
        steps: list[Step] = []
        for change in changes:
            found = stored.get((change.space, change.key))
            if isinstance(found, CorruptRecordError):
                outcomes[change.id] = Rejected(found)
                continue
            decision = plan(change, found.record if found else None)
            if not isinstance(decision, Write):
                outcomes[change.id] = decision
                continue
            try:
                steps.append(
                    encode_step(
                        change, found, decision, queryable=self._queryable, limit=self._limit
                    )
                )
            except (*ENCODING_ERRORS, RecordTooLargeError) as error:
                outcomes[change.id] = Rejected(unstorable(change.key, error))
        return steps

    def _read(
        self, changes: Sequence[Change]
    ) -> dict[tuple[Space, str], Stored | CorruptRecordError]:
        found: dict[tuple[Space, str], Stored | CorruptRecordError] = {}
        for space in Space:
            keys = [change.key for change in changes if change.space is space]
            if keys:
                for document in self._database.records[space].find(
                    {"_id": {"$in": keys}}, documents.STORED, limit=len(keys), batch_size=len(keys)
                ):
                    found[space, document["_id"]] = documents.decode_record(document)
        return found

    # -- 3: publish ---------------------------------------------------------------------------

    def _publish(self, steps: Sequence[Step], outcomes: dict[str, Outcome]) -> set[str]:
        """Replace the records of ``steps``; return the ids of the changes that are saved now."""
        saved: set[str] = set()
        for space in Space:
            mine = [step for step in steps if step.change.space is space]
            if not mine:
                continue
            failed: set[int] = set()
            for number, code, text in write_unordered(
                self._database.records[space], [_replacement(step) for step in mine]
            ):
                failed.add(number)
                if code != DUPLICATE_KEY:
                    change, size = mine[number].change, len(mine[number].document)
                    error = refusal(
                        code, text, self._database.place, change.key, size=size, limit=self._limit
                    )
                    outcomes[change.id] = Rejected(error)
            for number, step in enumerate(mine):
                if number not in failed:
                    outcomes[step.change.id] = step.write.outcome
                    saved.add(step.change.id)
        return saved

    # -- 4: tidy up ---------------------------------------------------------------------------

    def _tidy(self, steps: Sequence[Step], saved: set[str]) -> None:
        removals = [
            DeleteMany(condition)
            for step in steps
            for condition in (
                _no_longer_needed(step) if step.change.id in saved else _never_needed(step)
            )
        ]
        if removals:
            # Whatever is left over harms nobody.
            with suppress(StorageError), self._database.operation():
                write_unordered(self._database.entries, removals)


def _no_longer_needed(step: Step) -> Iterator[dict[str, Any]]:
    dropped, head = step.write.drop_thread, step.write.record.thread
    if dropped is not None and step.stored is not None:
        yield {"thread": dropped, "incarnation": step.stored.incarnation}
    if step.write.trim_before is not None and head is not None:
        trimmed = {"$lt": step.write.trim_before}
        yield {"thread": head.id, "seq": trimmed, "incarnation": step.incarnation}


def _never_needed(step: Step) -> Iterator[dict[str, Any]]:
    """Yield what a step has written that came to nothing: it would be in the next one's way."""
    if step.entries:
        yield {**step.places, "etag": step.etag}


def _replacement(step: Step) -> ReplaceOne[Any]:
    """Return the write that fails with a duplicate key if the record is not as it was read.

    As an update that matched nothing it would only be missing from the count of a batch.
    """
    etag = _NO_ETAG if step.stored is None else step.stored.etag
    return ReplaceOne(
        {"_id": step.change.key, "etag": etag}, RawBSONDocument(step.document), upsert=True
    )
