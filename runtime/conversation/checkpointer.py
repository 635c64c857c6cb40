"""Save and load conversations by thread id, on a bare storage, without a runtime.

A conversation is one record with a thread of its own: the thread has an entry for each message,
the record holds everything else.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from torpor.address import validate_kind
from torpor.conversation.history import NOTHING, digest_at, digests, entries_of
from torpor.conversation.snapshot import AgentSnapshot
from torpor.storage import Change, Conflict, Page, Put, Rejected, ThreadWrite, codec
from torpor.storage.errors import (
    ConflictError,
    CorruptRecordError,
    IncompleteSnapshotError,
    InvalidKeyError,
    SchemaVersionError,
    StorageError,
)
from torpor.storage.keys import validate_key
from torpor.storage.records import new_id
from torpor.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage import Entry, Record, Storage, ThreadHead

__all__ = ["Checkpointer", "SnapshotInfo"]

KIND = "agent_snapshot"
VERSION = 1

# What the record leaves to the thread, and what belongs to the value in memory alone.
_NOT_IN_RECORD = {"messages", "offset", "rev"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotInfo:
    """One line of ``Checkpointer.list``. ``messages`` is how many there are."""

    thread_id: str
    rev: int
    messages: int
    updated_at: float


class Checkpointer:
    """Conversations of agents that somebody else runs.

    A thread id names one conversation: at most about 490 bytes of UTF-8, not blank, anything
    else goes. Choose one that you can compute again and that no two users share, such as
    ``f"{tenant}/{user}/{conversation}"``: with the owner first, ``list(prefix)`` finds all of
    one owner's. Never take a constant, or an id of a process or connection: conversations that
    share an id replace each other. An id is no secret and proves nothing: check that the caller
    may use it. ``namespace`` separates applications on one storage.

    Thread-safe, and safe for several processes. ``asave``, ``aload``, ``adelete`` and ``alist``
    are the same for async code, on another thread. Transient errors are retried for 30 s; then
    each method raises ``StorageUnavailableError``. The storage stays its owner's to close.
    """

    def __init__(self, storage: Storage, *, namespace: str = "snapshots") -> None:
        self._storage = storage
        self._prefix = f"{validate_kind(namespace)}:"  # no agent's address: kinds have no colon

    def save(self, thread_id: str, snapshot: AgentSnapshot) -> int:
        """Store ``snapshot`` in one atomic change; return its new revision, as ``rev`` has it.

        Only new messages are written: what a save reads and writes does not grow with the
        history. If a message that is stored already was changed or removed, the whole
        history is written anew. An unchanged snapshot is not written at all.

        Raises ``ConflictError`` if ``snapshot.rev`` is not the stored revision: load again and
        decide. ``IncompleteSnapshotError``: ``snapshot.offset`` messages are not stored under
        this id. ``UnserializableError``, ``InvalidKeyError``, ``StorageError``.
        """
        key = self._key(thread_id)
        state = snapshot.model_dump(exclude=_NOT_IN_RECORD)
        codec.dumps([state, snapshot.messages], f"the snapshot of {thread_id!r}")
        while True:
            record = self._read(key)
            found = record.rev if record else 0
            if snapshot.rev not in {None, found}:
                raise ConflictError(key, expected=snapshot.rev, found=found)
            change = self._change(key, record, snapshot, state)
            try:
                rev = found if change is None else self._commit(change)
            except ConflictError:
                if snapshot.rev is None:
                    continue  # it is to replace whatever is there
                raise
            snapshot.rev = rev
            return rev

    def load(self, thread_id: str, *, tail: int | None = None) -> AgentSnapshot | None:
        """Return the snapshot saved last, None if there is none.

        ``tail``: load only the last n messages. Such a snapshot can be appended to and saved;
        those before it stay as they are. Raises ``SchemaVersionError`` for a snapshot of a
        newer Torpor and ``StorageError``.
        """
        if tail is not None and tail < 0:
            msg = f"tail is a number of messages, not {tail}"
            raise ValueError(msg)
        key = self._key(thread_id)
        while True:
            record = self._read(key)
            if record is None:
                return None
            count = record.thread.rev if record.thread else 0
            offset = 0 if tail is None else max(0, count - tail)
            try:
                entries = self._entries(record.thread, offset, count)
            except CorruptRecordError:
                if self._read(key) == record:
                    raise
                continue  # no damage: the history was written anew between the two readings
            messages = [entry.payload for entry in entries]
            value = {"messages": messages, "offset": offset, "rev": record.rev}
            try:
                return AgentSnapshot.model_validate(_state(record) | value)
            except ValidationError as error:
                raise CorruptRecordError(key, f"it holds no snapshot: {error}") from error

    def delete(self, thread_id: str) -> None:
        """Remove a conversation and its messages. No error if there is none."""
        self._storage.delete_checkpoint(self._key(thread_id))

    def list(
        self, prefix: str = "", *, cursor: str | None = None, limit: int = 100
    ) -> Page[SnapshotInfo]:
        """Return one page of the conversations whose thread id has ``prefix``.

        Reads no message. Pass a page's ``cursor`` for the next one; None after the last.
        Ordered by thread id where the backend can.
        """
        page = retrying()(
            self._storage.list_checkpoints, self._prefix + prefix, cursor=cursor, limit=limit
        )
        items = tuple(
            SnapshotInfo(
                thread_id=record.key.removeprefix(self._prefix),
                rev=record.rev,
                messages=record.thread.rev if record.thread else 0,
                updated_at=record.updated_at,
            )
            for record in page
        )
        return Page(items=items, cursor=page.cursor)

    async def asave(self, thread_id: str, snapshot: AgentSnapshot) -> int:
        """``save`` for async code. Don't change ``snapshot`` meanwhile."""
        return await asyncio.to_thread(self.save, thread_id, snapshot)

    async def aload(self, thread_id: str, *, tail: int | None = None) -> AgentSnapshot | None:
        """``load`` for async code."""
        return await asyncio.to_thread(self.load, thread_id, tail=tail)

    async def adelete(self, thread_id: str) -> None:
        """``delete`` for async code."""
        await asyncio.to_thread(self.delete, thread_id)

    async def alist(
        self, prefix: str = "", *, cursor: str | None = None, limit: int = 100
    ) -> Page[SnapshotInfo]:
        """``list`` for async code."""
        return await asyncio.to_thread(self.list, prefix, cursor=cursor, limit=limit)

    def _key(self, thread_id: str) -> str:
        validate_key(thread_id)
        if not thread_id.strip():
            msg = f"a thread id says whose conversation it is; this one is blank: {thread_id!r}"
            raise InvalidKeyError(msg)
        return validate_key(self._prefix + thread_id)

    def _read(self, key: str) -> Record | None:
        [record] = retrying()(self._storage.read, [key])
        if isinstance(record, StorageError):
            raise record
        if record is not None and record.version > VERSION:
            place = f"the snapshot {key!r}"
            raise SchemaVersionError(place, found=record.version, supported=VERSION)
        return record

    def _entries(self, head: ThreadHead | None, start: int, stop: int) -> Sequence[Entry]:
        if head is None:
            return ()
        return retrying()(self._storage.read_entries, head.id, start, stop)

    def _change(
        self, key: str, record: Record | None, snapshot: AgentSnapshot, state: dict[str, Any]
    ) -> Change | None:
        """Return what is to be written, None if that is nothing."""
        old = _state(record) if record else {}
        digest, write = self._write(key, record, old.get("digest", NOTHING), snapshot)
        state = {**state, "digest": digest}
        if state == old and write is None:
            return None
        return Change(
            key=key,
            expected_rev=record.rev if record else 0,
            put=Put(data=codec.dumps(state), kind=KIND, version=VERSION),
            thread=write,
            at=time.time(),
        )

    def _write(
        self, key: str, record: Record | None, stored_digest: str, snapshot: AgentSnapshot
    ) -> tuple[str, ThreadWrite | None]:
        """Return the digest of all messages, and what the thread lacks to hold them."""
        head = record.thread if record else None
        stored, offset, messages = head.rev if head else 0, snapshot.offset, snapshot.messages
        if offset > stored:
            raise IncompleteSnapshotError(key, f"{offset} earlier messages; {stored} are stored")
        before = self._entries(head, offset - 1, offset) if offset else ()
        running = digests(digest_at(key, before[0]) if before else NOTHING, messages)
        known, now = stored - offset, time.time()
        if known <= len(messages) and running[known] == stored_digest:
            if known == len(messages):
                return running[-1], None
            thread_id = head.id if head else _new_thread(key)
            entries = entries_of(messages[known:], running[known + 1 :], now)
        else:
            # An entry is never changed: another thread takes the place of this one.
            thread_id = _new_thread(key)
            older = self._entries(head, 0, offset)
            entries = (*older, *entries_of(messages, running[1:], now))
        return running[-1], ThreadWrite(id=thread_id, entries=entries)

    def _commit(self, change: Change) -> int:
        send = retrying()
        [outcome] = send(self._storage.commit, [change])
        if isinstance(outcome, Conflict):
            raise ConflictError(
                outcome.key,
                expected=outcome.expected,
                found=outcome.found,
                outcome="unknown" if send.statistics["attempt_number"] > 1 else "not_applied",
            )
        if isinstance(outcome, Rejected):
            raise outcome.error
        return outcome.rev


def _new_thread(key: str) -> str:
    return f"{key}#{new_id()}"


def _state(record: Record) -> dict[str, Any]:
    """Return what ``record`` holds of a snapshot: all but the messages, and their digest."""
    try:
        state: Any = codec.loads(record.data or "null")
    except codec.UNDECODABLE as error:
        raise CorruptRecordError(record.key, f"it holds no snapshot: {error}") from error
    if not isinstance(state, dict):
        raise CorruptRecordError(record.key, "it holds no snapshot")
    return cast("dict[str, Any]", state)
