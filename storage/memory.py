"""Checkpoints and threads in this process's memory: for tests, and for state that may be lost."""

from __future__ import annotations

import heapq
import threading
from bisect import bisect_left, bisect_right
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torpor.storage import codec
from torpor.storage.base import Storage
from torpor.storage.errors import ConfigurationError, StorageError
from torpor.storage.plan import Write, plan
from torpor.storage.records import Due, Record, Rejected, Space

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from torpor.storage.records import Change, Entry, Outcome

__all__ = ["MemoryStorage"]


class MemoryStorage(Storage):
    """Everything in dictionaries under one lock; gone when the process ends.

    Documents are kept in their JSON form, so what is read never shares an object with what was
    written, and values change (tuples become lists) exactly as they do on a durable storage.
    Listings are ordered by key. ``close`` forgets everything.
    """

    name: ClassVar[str] = "memory"
    durable: bool = False
    timeout: float = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._shelves = {space: _Shelf(space) for space in Space}
        self._journals: dict[str, _Journal] = {}

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open ``memory:``; each call opens an empty storage of its own. It has no options."""
        if url.partition(":")[2].strip("/") or options:
            msg = f"a memory storage takes no place and no options: {url!r} {sorted(options)}"
            raise ConfigurationError(msg)
        return cls()

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        with self._lock:
            records = self._shelves[space].records
            return [
                _unshared(record) if (record := records.get(key)) is not None else None
                for key in keys
            ]

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        with self._lock:
            return [
                next((entry.id for entry in self._entries(thread_id, seq, seq + 1)), None)
                for thread_id, seq in places
            ]

    def _read_entries(  # noqa: PLR0913 - see Storage
        self,
        thread_id: str,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None,
        limit: int | None,
        newest: bool,
    ) -> Sequence[Entry]:
        with self._lock:
            found = self._entries(thread_id, start, stop, newest=newest)
            entries = list(
                islice((entry for entry in found if kinds is None or entry.kind in kinds), limit)
            )
        return entries[::-1] if newest else entries

    def _entries(
        self, thread_id: str, start: int, stop: int, *, newest: bool = False
    ) -> Iterator[Entry]:
        journal = self._journals.get(thread_id)
        return iter(()) if journal is None else journal.read(thread_id, start, stop, newest=newest)

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        with self._lock:
            return [self._apply(change) for change in changes]

    def _apply(self, change: Change) -> Outcome:
        shelf = self._shelves[change.space]
        decision = plan(change, shelf.records.get(change.key))
        if not isinstance(decision, Write):
            return decision
        try:
            documents = [codec.encode_entry(entry) for entry in decision.entries]
            record = _unshared(decision.record)
            head = codec.encode_head(record.thread) or ""
            parts = (record.change_id, record.kind, head, record.data or "", *documents)
            "".join(parts).encode()  # as every other storage has to
        except (TypeError, ValueError, RecursionError) as error:
            refusal = StorageError(f"{change.key!r} cannot be stored: {error}")
            refusal.__cause__ = error
            return Rejected(refusal)
        shelf.put(record)
        if decision.drop_thread is not None:
            self._journals.pop(decision.drop_thread, None)
        if record.thread is not None:
            journal = self._journals.setdefault(record.thread.id, _Journal())
            if documents:
                journal.write(decision.entries[0].seq, documents)
            if decision.trim_before is not None:
                journal.trim(decision.trim_before)
        return decision.outcome

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        with self._lock:
            shelf = self._shelves[space]
            live = (shelf.records[key] for key in shelf.keys_from(prefix, after))
            return [_unshared(record) for record in islice(live, limit)]

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        with self._lock:
            due = (
                Due(shelf.space, key, wake_at)
                for shelf in self._shelves.values()
                for key, wake_at in shelf.wakes.items()
                if wake_at <= before
            )
            return heapq.nsmallest(limit, due, key=lambda item: item.wake_at)

    def _vacuum(self, before: float) -> int:
        with self._lock:
            return sum(shelf.vacuum(before) for shelf in self._shelves.values())

    def _close(self) -> None:
        with self._lock:
            for shelf in self._shelves.values():
                shelf.clear()
            self._journals.clear()


class _Shelf:
    """The records of one space, tombstones included."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.records: dict[str, Record] = {}
        self.wakes: dict[str, float] = {}
        self._order: list[str] | None = []  # sorted keys; None = to be sorted when next listed

    def put(self, record: Record) -> None:
        if record.key not in self.records:
            self._order = None
        self.records[record.key] = record
        if record.wake_at is not None:
            self.wakes[record.key] = record.wake_at
        else:
            self.wakes.pop(record.key, None)

    def keys_from(self, prefix: str, after: str | None) -> Iterator[str]:
        """Yield the live keys that begin with ``prefix`` and come after ``after``, sorted."""
        if self._order is None:
            self._order = sorted(self.records)
        begin = bisect_left(self._order, prefix)
        if after is not None:
            begin = max(begin, bisect_right(self._order, after))
        for key in islice(self._order, begin, None):
            if not key.startswith(prefix):
                return
            if not self.records[key].deleted:
                yield key

    def vacuum(self, before: float) -> int:
        dead = [r.key for r in self.records.values() if r.deleted and r.updated_at < before]
        for key in dead:
            del self.records[key]
        if dead:
            self._order = None
        return len(dead)

    def clear(self) -> None:
        self.records.clear()
        self.wakes.clear()
        self._order = []


class _Journal:
    """The entries of one thread as JSON; the first of them has ``seq`` ``start``."""

    __slots__ = ("documents", "start")

    def __init__(self) -> None:
        self.start = 0
        self.documents: list[str] = []

    def read(self, thread_id: str, start: int, stop: int, *, newest: bool) -> Iterator[Entry]:
        """Yield the entries with ``start <= seq < stop``, with ``newest`` the last one first."""
        found = range(max(start, self.start), min(stop, self.start + len(self.documents)))
        for seq in reversed(found) if newest else found:
            yield codec.decode_entry(self.documents[seq - self.start], seq, thread_id)

    def write(self, seq: int, documents: list[str]) -> None:
        if not self.documents:
            self.start = seq
        self.documents[seq - self.start :] = documents

    def trim(self, before: int) -> None:
        gone = max(0, min(before - self.start, len(self.documents)))
        del self.documents[:gone]
        self.start += gone


def _unshared(record: Record) -> Record:
    """Return ``record`` with metadata that nobody else can reach and change."""
    if record.thread is None or not record.thread.metadata:
        return record
    head = codec.decode_head(codec.encode_head(record.thread), record.key)
    return replace(record, thread=head)
