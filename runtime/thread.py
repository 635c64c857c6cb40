"""An agent's view of its own thread: lazily loaded, with the entries that wait to be saved."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

from torpor.eventloop import on_event_loop
from torpor.storage import Entry, Storage, ThreadHead, ThreadWrite, codec
from torpor.storage.errors import BlockingCallError, ConflictError, CorruptRecordError
from torpor.storage.records import new_id

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torpor.clock import Clock

__all__ = ["AgentThread"]

_KEEP_IN_MEMORY = 256


class AgentThread:
    """The journal of one agent. Entries that it appends are seen by it at once.

    They are saved with the checkpoint of the turn that appended them, in one change, and are
    gone if that turn fails. Nothing is loaded before it is asked for; the newest entries stay
    in memory. ``seq`` counts from 0 without gaps.
    """

    def __init__(
        self, storage: Storage, clock: Clock, address: str, head: ThreadHead | None
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._address = address
        self._lock = threading.Lock()
        self._head = head
        self._new_id: str | None = None
        self._pending: list[Entry] = []
        self._turn_start = 0
        self._trim: int | None = None
        self._trim_before_turn: int | None = None
        self.outdated = False
        # The durable entries that are in memory: a gapless run that ends with the newest.
        self._recent: list[Entry] = []

    @property
    def id(self) -> str | None:
        """The thread's id in the storage; None before the first entry."""
        return self._head.id if self._head else self._new_id

    @property
    def rev(self) -> int:
        """The number of entries ever appended, those of this turn included."""
        with self._lock:
            return self._rev()

    @property
    def start(self) -> int:
        """The ``seq`` of the oldest entry that was not trimmed away."""
        with self._lock:
            return self._start()

    def __len__(self) -> int:
        """The number of entries that can be read."""
        with self._lock:
            return self._rev() - self._start()

    def append(
        self,
        kind: str,
        payload: Any = None,
        *,
        refs: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - the entry's field
        at: float | None = None,
    ) -> Entry:
        """Append an entry and return it.

        ``payload`` ({} if None) and ``refs`` are plain JSON data and are copied; otherwise
        ``UnserializableError``. ``at`` defaults to now, ``id`` to a new one.
        """
        content = {"payload": {} if payload is None else payload, "refs": refs or {}}
        copied = json.loads(codec.dumps(content, f"the {kind!r} entry"))
        at = self._clock.time() if at is None else at
        entry_id = id or f"entry_{new_id()}"
        codec.dumps([kind, entry_id], "kind and id")
        codec.require_types(Entry(kind=kind, at=at, id=entry_id, refs=copied["refs"]))
        with self._lock:
            if self._head is None and self._new_id is None:
                self._new_id = f"{self._address}#{new_id()}"
            entry = Entry(kind=kind, at=at, id=entry_id, seq=self._rev(), **copied)
            self._pending.append(entry)
        return entry

    def trim(self, before: int) -> None:
        """Remove entries with ``seq < before`` when this turn is saved, none of later ones.

        ``rev`` stays.
        """
        with self._lock:
            before = min(before, self._rev())
            if before > self._start():
                self._trim = before

    @property
    def last(self) -> Entry | None:
        """The newest entry, None if there is none."""
        newest = self.tail(1)
        return newest[0] if newest else None

    def get(self, seq: int) -> Entry | None:
        """Return the entry with this ``seq``, None if there is none."""
        found = self.entries(after=seq - 1, limit=1)
        return found[0] if found and found[0].seq == seq else None

    def tail(self, n: int, *, kinds: Collection[str] | None = None) -> list[Entry]:
        """Return the last ``n`` entries (of one kind, or of several), oldest first.

        May read the storage: on an event loop's thread that is a ``BlockingCallError`` unless
        they are in memory; use ``await atail(…)`` there.
        """
        kinds = _kinds(kinds)
        if _size(n) == 0:
            return []
        with self._lock:
            head, recent, pending = self._head, list(self._recent), list(self._pending)
            start = self._start()
        known = _of(kinds, start, recent + pending)
        complete = head is None or (recent[0].seq if recent else head.rev) <= start
        if len(known) >= n or complete or head is None:
            return known[-n:]
        self._require_thread()
        wanted = n - len(_of(kinds, start, pending))
        stored = self._read(head, start, head.rev, kinds=kinds, limit=wanted, newest=True)
        if kinds is None:
            with self._lock:
                if self._head is head:
                    self._recent = list(stored[-_KEEP_IN_MEMORY:])
        return [*stored, *_of(kinds, start, pending)]

    def entries(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """Return entries with ``after < seq < before`` (of ``kinds``), the first ``limit``.

        Reads the storage like ``tail``; on an event loop's thread use ``await aentries(…)``.
        """
        kinds = _kinds(kinds)
        limit = None if limit is None else _size(limit)
        with self._lock:
            head, recent, pending = self._head, list(self._recent), list(self._pending)
            start = max(self._start(), 0 if after is None else after + 1)
            stop = self._rev() if before is None else min(before, self._rev())
        durable = head.rev if head else 0
        in_memory = recent[0].seq if recent else durable
        found: list[Entry] = []
        if head and start < min(in_memory, stop):
            self._require_thread()
            found += self._read(head, start, min(in_memory, stop), kinds=kinds, limit=limit)
        found += [e for e in _of(kinds, start, recent + pending) if e.seq < stop]
        return found if limit is None else found[:limit]

    async def atail(self, n: int, *, kinds: Collection[str] | None = None) -> list[Entry]:
        """``tail`` for async handlers: reads the storage on another thread."""
        return await asyncio.to_thread(self.tail, n, kinds=kinds)

    async def aentries(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """``entries`` for async handlers: reads the storage on another thread."""
        return await asyncio.to_thread(
            self.entries, after=after, before=before, kinds=kinds, limit=limit
        )

    # -- for the runtime ----------------------------------------------------------------------

    @property
    def head(self) -> ThreadHead | None:
        """The head as it was last saved."""
        return self._head

    def begin_turn(self) -> None:
        """Note where the entries of the turn that begins now begin."""
        with self._lock:
            self._turn_start = len(self._pending)
            self._trim_before_turn = self._trim

    def roll_back_turn(self) -> None:
        """Forget what was done since ``begin_turn``."""
        with self._lock:
            del self._pending[self._turn_start :]
            self._trim = self._trim_before_turn

    @property
    def dirty(self) -> bool:
        """Whether there is something to save, that of the running turn included."""
        return bool(self._pending) or self._trim is not None

    @property
    def turn_dirty(self) -> bool:
        """Whether the running turn added something to save."""
        return len(self._pending) > self._turn_start or self._trim != self._trim_before_turn

    def finished(self) -> ThreadWrite | None:
        """Return what finished turns want written, None if nothing ever was."""
        with self._lock:
            entries = tuple(self._pending[: self._turn_start])
            head = self._head
            if head is None and not entries:
                return None
            thread_id = head.id if head else self._new_id
            assert thread_id is not None
            return ThreadWrite(id=thread_id, entries=entries, trim_before=self._trim_before_turn)

    def close_turn(self) -> None:
        """Count the running turn among the finished ones."""
        self.begin_turn()

    def saved(self, write: ThreadWrite, head: ThreadHead | None) -> None:
        """Take note that ``write`` is durable and ``head`` is the new head."""
        count = len(write.entries)
        if count and head == self._head:
            return  # noted already: it was sent again after an interrupt
        with self._lock:
            saved = self._pending[:count]
            del self._pending[:count]
            self._turn_start -= count
            self._recent = (self._recent + saved)[-_KEEP_IN_MEMORY:]
            self._head = head
            if write.trim_before is not None:
                if self._trim == write.trim_before:
                    self._trim = None
                if self._trim_before_turn == write.trim_before:
                    self._trim_before_turn = None

    def _read(self, head: ThreadHead, start: int, stop: int, **options: Any) -> Sequence[Entry]:
        """Read durable entries; if they are gone because another process changed the agent, say so.

        Then ``outdated`` is set and ``ConflictError`` raised: no damage, but an old copy.
        """
        try:
            return self._storage.read_entries(head.id, start, stop, **options)
        except CorruptRecordError as error:
            if self._storage.thread_head(head.id) == head:
                raise
            self.outdated = True
            raise ConflictError(self._address, expected=None, found=None) from error

    def _rev(self) -> int:
        return (self._head.rev if self._head else 0) + len(self._pending)

    def _start(self) -> int:
        start = self._head.start if self._head else 0
        return max(start, min(self._trim or 0, self._rev()))

    def _require_thread(self) -> None:
        if on_event_loop():
            detail = "reading the thread blocks; use await thread.atail(…) or aentries(…)"
            raise BlockingCallError(self._address, detail)


def _size(n: int) -> int:
    if n < 0:
        msg = f"a number of entries is at least 0, not {n}"
        raise ValueError(msg)
    return n


def _kinds(kinds: Collection[str] | None) -> Collection[str] | None:
    return (kinds,) if isinstance(kinds, str) else kinds


def _of(kinds: Collection[str] | None, start: int, entries: Sequence[Entry]) -> list[Entry]:
    return [e for e in entries if e.seq >= start and (kinds is None or e.kind in kinds)]
