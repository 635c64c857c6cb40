"""What a storage should hold, in plain dictionaries: the other side of ``StorageStateMachine``.

It follows the rules of ``torpor.storage.base`` by itself and shares no code with the backends.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torpor.storage.records import Conflict, Saved, Space, ThreadHead

if TYPE_CHECKING:
    from torpor.storage.records import Change, Entry, Outcome

__all__ = ["ModelJournal", "ModelRecord", "StorageModel"]


@dataclass
class ModelJournal:
    """A thread with those of its entries that are not trimmed away."""

    head: ThreadHead
    entries: list[Entry] = field(default_factory=list["Entry"])

    def append(self, entries: tuple[Entry, ...], at: float) -> None:
        """Append entries, with the next numbers."""
        for entry in entries:
            self.entries.append(replace(entry, seq=self.head.rev))
            self.head = replace(
                self.head,
                rev=self.head.rev + 1,
                last=entry.id,
                updated_at=max(self.head.updated_at, at),
            )

    def trim(self, before: int) -> None:
        """Forget the entries below ``before``."""
        self.entries = [entry for entry in self.entries if entry.seq >= before]
        start = min(max(self.head.start, before), self.head.rev)
        self.head = replace(self.head, start=start)


@dataclass
class ModelRecord:
    """A record, or what is left of a deleted one."""

    rev: int
    change_id: str
    at: float
    deleted: bool = False
    kind: str = ""
    version: int = 1
    data: str | None = None
    wake_at: float | None = None
    journal: ModelJournal | None = None


class StorageModel:
    """Records by space and key, tombstones included."""

    def __init__(self) -> None:
        self.records: dict[tuple[Space, str], ModelRecord] = {}

    def live(self, space: Space) -> dict[str, ModelRecord]:
        """Return the records of a space that are not deleted."""
        return {
            key: record
            for (where, key), record in self.records.items()
            if where is space and not record.deleted
        }

    def journals(self) -> dict[str, ModelJournal]:
        """Return all threads by id, standalone and owned."""
        return {
            record.journal.head.id: record.journal
            for record in self.records.values()
            if record.journal is not None
        }

    def apply(self, change: Change) -> Outcome:
        """Carry out one change."""
        place = (change.space, change.key)
        old = self.records.get(place)
        if old is not None and old.change_id == change.id:
            return Saved(old.rev, old.journal.head if old.journal else None)
        current = None if old is None or old.deleted else old
        found = 0 if current is None else current.rev
        if change.expected_rev not in {None, found}:
            return Conflict(change.key, change.expected_rev, found)
        last_rev = 0 if old is None else old.rev
        if change.delete:
            if current is not None:
                self.records[place] = ModelRecord(last_rev, change.id, change.at, deleted=True)
            return Saved(last_rev)
        journal = current.journal if current else None
        if change.thread is not None:
            if journal is None or journal.head.id != change.thread.id:
                journal = _new_journal(change, last_rev)
            journal.append(change.thread.entries, change.at)
            if change.thread.trim_before is not None:
                journal.trim(change.thread.trim_before)
        record = ModelRecord(last_rev + 1, change.id, change.at, journal=journal)
        record.wake_at = change.wake_at
        if change.put is not None:
            record.kind, record.version = change.put.kind, change.put.version
            record.data = change.put.data
        elif journal is not None:
            record.rev = journal.head.rev
        self.records[place] = record
        return Saved(record.rev, journal.head if journal else None)

    def vacuum(self, before: float) -> int:
        """Forget tombstones from before that moment; return how many."""
        dead = [
            place for place, record in self.records.items() if record.deleted and record.at < before
        ]
        for place in dead:
            del self.records[place]
        return len(dead)


def _new_journal(change: Change, last_rev: int) -> ModelJournal:
    assert change.thread is not None
    begin = last_rev if change.space is Space.THREADS else 0
    return ModelJournal(
        ThreadHead(
            id=change.thread.id,
            rev=begin,
            start=begin,
            created_at=change.at,
            updated_at=change.at,
            metadata=change.thread.metadata or {},
        )
    )
