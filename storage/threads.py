"""The operations on threads, written once for every backend."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from torpor.storage import codec
from torpor.storage.backend import Backend
from torpor.storage.encoding import NO_CODEC, is_encoded_value
from torpor.storage.errors import (
    ConflictError,
    CorruptRecordError,
    DecryptionError,
    OwnedThreadError,
    UnserializableError,
)
from torpor.storage.keys import validate_key
from torpor.storage.records import (
    Change,
    Entry,
    Page,
    Record,
    Space,
    Thread,
    ThreadHead,
    ThreadWrite,
    new_id,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["ThreadOperations"]


class ThreadOperations(Backend):
    """Append-only journals: standalone ones, and those that agents own."""

    def append_thread(
        self,
        thread_id: str,
        entries: Entry | Mapping[str, Any] | Iterable[Entry | Mapping[str, Any]],
        *,
        expected_rev: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        wake_at: float | None = None,
    ) -> ThreadHead:
        """Append entries to a standalone thread, create it if need be, return its new head.

        An entry is an ``Entry`` or a mapping with any of ``kind`` ("note"), ``payload``,
        ``refs``, ``at``, ``id``. An append of no entries creates the head (metadata is kept),
        and ``load_thread`` still answers None. Raises as ``put_checkpoint`` does, and
        ``OwnedThreadError``.
        """
        now = time.time()
        prepared = tuple(_entry(entry, now) for entry in _several(entries))
        codec.dumps(metadata, "metadata")
        self._require_standalone(thread_id)
        write = ThreadWrite(id=thread_id, entries=prepared, metadata=metadata)
        saved = self._commit_one(
            Change(
                key=thread_id,
                space=Space.THREADS,
                expected_rev=expected_rev,
                thread=write,
                wake_at=wake_at,
                at=now,
            )
        )
        assert saved.thread is not None
        return saved.thread

    def trim_thread(self, thread_id: str, before: int) -> ThreadHead | None:
        """Remove entries with ``seq < before`` of a standalone thread; ``rev`` stays.

        Returns the new head, None if there is no such thread.
        """
        self._require_standalone(thread_id)
        write = ThreadWrite(id=thread_id, trim_before=before)
        while True:
            stored = self._one(Space.THREADS, thread_id)
            if stored is None:
                return None
            change = Change(
                key=thread_id,
                space=Space.THREADS,
                expected_rev=stored.rev,
                thread=write,
                wake_at=stored.wake_at,
                at=time.time(),
            )
            with suppress(ConflictError):  # appended to since it was read: wake_at may be new
                return self._commit_one(change).thread

    def delete_thread(self, thread_id: str, *, expected_rev: int | None = None) -> None:
        """Remove a standalone thread and its entries. No error if there is none."""
        self._require_standalone(thread_id)
        self._commit_one(
            Change(
                key=thread_id,
                space=Space.THREADS,
                expected_rev=expected_rev,
                delete=True,
                at=time.time(),
            )
        )

    def thread_head(self, thread_id: str) -> ThreadHead | None:
        """Return what is known of a thread, owned or standalone, without reading entries."""
        record = self._one(Space.THREADS, thread_id)
        if record is not None:
            return record.thread
        owner = self._owner(thread_id)
        return owner.thread if owner else None

    def load_thread(
        self,
        thread_id: str,
        *,
        after: int | None = None,
        tail: int | None = None,
        limit: int | None = None,
        kinds: Collection[str] | None = None,
    ) -> Thread | None:
        """Return a thread, owned or standalone; None if it is missing or never had an entry.

        ``after``: only entries with a greater ``seq``. ``tail``: only the last n. ``limit``: at
        most n, the oldest first. ``kinds`` filters before ``tail`` and ``limit`` count.
        """
        while True:
            head = self.thread_head(thread_id)
            if head is None or head.rev == 0:
                return None
            start = head.start if after is None else max(after + 1, head.start)
            try:
                entries = self.read_entries(
                    thread_id,
                    start,
                    head.rev,
                    kinds=kinds,
                    limit=limit if tail is None else tail,
                    newest=tail is not None,
                )
            except CorruptRecordError:
                if self.thread_head(thread_id) == head:
                    raise
                continue  # no damage: it was trimmed or deleted between the two readings
            return Thread(head=head, entries=tuple(entries))

    def read_entries(  # noqa: PLR0913 - see _read_entries
        self,
        thread_id: str,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
        newest: bool = False,
    ) -> Sequence[Entry]:
        """Return entries with ``start <= seq < stop``, ascending; see ``load_thread``.

        ``stop`` is at most the head's ``rev``, ``start`` at least its ``start``: a gap between
        them raises ``CorruptRecordError``.
        """
        self._require_open()
        if limit is not None and limit < 0:
            msg = "limit and tail are at least 0"
            raise ValueError(msg)
        if stop <= start or limit == 0:
            return ()
        if isinstance(kinds, str):  # a lone one, not a collection of letters
            kinds = (kinds,)
        if kinds is None and limit is not None:  # which says where they are: no index is searched
            count = min(limit, stop - start)
            start, stop = (stop - count, stop) if newest else (start, start + count)
        entries = self._read_entries(
            thread_id, start, stop, kinds=kinds, limit=limit, newest=newest
        )
        if kinds is None and (
            len(entries) != stop - start  # which may be more than there is memory for
            or [entry.seq for entry in entries] != list(range(start, stop))
        ):
            raise CorruptRecordError(thread_id, f"entries {start} to {stop - 1} have gaps")
        if any(is_encoded_value(entry.payload) for entry in entries):
            raise DecryptionError(thread_id, NO_CODEC)
        return entries

    def list_threads(
        self, prefix: str = "", *, cursor: str | None = None, limit: int = 100
    ) -> Page[Record]:
        """Return one page of standalone threads' head records by id prefix.

        The head of an owned thread is the ``thread`` of its owner's checkpoint.
        """
        return self._page(Space.THREADS, prefix, cursor, limit)

    def _require_standalone(self, thread_id: str) -> None:
        validate_key(thread_id)
        if self._owner(thread_id) is not None:
            raise OwnedThreadError(thread_id, "owned by an agent; send that agent a message")


def _several(
    entries: Entry | Mapping[str, Any] | Iterable[Entry | Mapping[str, Any]],
) -> Iterable[Entry | Mapping[str, Any]]:
    if isinstance(entries, Entry | Mapping):
        return (cast("Entry | Mapping[str, Any]", entries),)
    return entries


def _entry(value: Entry | Mapping[str, Any], now: float) -> Entry:
    if isinstance(value, Entry):
        entry = value
    else:
        fields: dict[str, Any] = {"kind": "note", "payload": {}, "refs": {}, "at": now, "id": None}
        fields |= value
        fields.pop("seq", None)
        entry_id = fields.pop("id") or f"entry_{new_id()}"
        if unknown := fields.keys() - {"kind", "payload", "refs", "at"}:
            msg = f"an entry has no {', '.join(sorted(unknown))}"
            raise UnserializableError(msg)
        entry = Entry(id=entry_id, **fields)
    codec.require_storable(entry)
    return entry
