"""The storage contract: two primitives, one way to write.

*Checkpoints* are records under a key, with a revision. *Threads* are append-only journals.
Everything is written by ``commit``. The rules, which ``torpor.storage.testing.StorageContract``
proves for every backend:

1.  A change is atomic: after a crash at any point all of it is visible or none of it is.
2.  A stale ``expected_rev`` gives ``Conflict``, writes nothing and disturbs no other change of
    the batch. None = don't compare, 0 = absent or deleted, n = exactly n.
3.  When ``commit`` returns, what it saved is durable to the degree that the backend documents.
    If it raises, the outcome of every change of the batch is unknown and the batch is to be
    sent again: a change whose id is stored already is answered ``Saved`` again.
4.  A revision is never used twice for a key. Delete leaves a tombstone, which get, head and
    list do not see; the next write goes on from it. ``vacuum`` removes tombstones.
5.  In a thread ``seq`` is contiguous and ``rev`` counts the entries ever appended; a re-created
    thread goes on from its old ``rev``. A caller's ``seq`` is ignored, its ``id`` and ``at``
    are kept. Metadata is stored by the append that creates the thread, and by no later one.
6.  An agent's thread is owned: its id is ``<agent key>#<unique id>`` and its head lives in the
    owner's record. Writing to it in any other way is an ``OwnedThreadError``. Entries beyond a
    head are invisible and are overwritten by the next append.
7.  Cost does not grow with history; learning a revision never reads entries.
8.  A missing key is None, never an error; deleting what is not there is no error; a backend's
    failure is never reported as "missing".
9.  Keys are text, 1 to 512 bytes of UTF-8, without NUL. Anything else in them is legal, and two
    different keys never collide.
10. Documents are JSON, versioned, checksummed; no pickle. Undecodable bytes raise
    ``CorruptRecordError`` and are left as they are.
11. One change per key in a batch, else ``ValueError``. A batch costs few steps, not one per row.
12. A record may carry ``wake_at``; ``list_due`` reads it from an index. Where that index cannot
    be in the same transaction, early is allowed, lost is not.
13. Safe for many threads, and for many processes on the same place.
"""

from __future__ import annotations

import base64
import binascii
import math
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torpor.storage import codec
from torpor.storage.errors import (
    ConflictError,
    CorruptRecordError,
    InvalidKeyError,
    MissingThreadError,
    OwnedThreadError,
    RecordTooLargeError,
    StorageClosedError,
    StorageError,
    ThreadMismatchError,
    UnserializableError,
)
from torpor.storage.records import (
    Change,
    Checkpoint,
    Conflict,
    Due,
    Entry,
    Outcome,
    Page,
    Put,
    Record,
    Rejected,
    Saved,
    Space,
    Thread,
    ThreadHead,
    ThreadWrite,
    new_id,
)
from torpor.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from types import TracebackType

__all__ = ["MAX_KEY_BYTES", "Storage", "validate_key"]

MAX_KEY_BYTES = 512
_OWNED_ID_BYTES = 64  # room for "#" and the unique id behind an agent's key


def validate_key(key: str, limit: int = MAX_KEY_BYTES) -> str:
    """Return ``key`` if a storage takes it, else raise ``InvalidKeyError``."""
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        msg = f"a key is text, not {type(key).__name__}"
        raise InvalidKeyError(msg)
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        msg = f"the key {key!r} has no UTF-8 form: {error.reason}"
        raise InvalidKeyError(msg) from error
    if not 0 < size <= limit:
        msg = f"a key has 1 to {limit} bytes of UTF-8; this one has {size}: {key[:40]!r}"
        raise InvalidKeyError(msg)
    if "\0" in key:
        msg = f"a key has no NUL character: {key!r}"
        raise InvalidKeyError(msg)
    return key


class Storage(ABC):
    """Checkpoints and threads in one place. See the module for the rules.

    A subclass implements the methods with a leading underscore; each must be safe to call from
    many threads at once, and translates its driver's errors into ``StorageError``s:
    ``StorageUnavailableError`` for whatever may pass by itself. Use it as a context manager, or
    call ``close``.
    """

    name: ClassVar[str]
    """Short name of the backend, as in its URL: ``"sqlite"``."""

    durable: ClassVar[bool] = True
    """Whether what was saved survives the process."""

    timeout: float = 5.0
    """Upper bound, in seconds, of one operation's waiting for locks or a server.

    A caller of ``ask`` runs storage operations on its own thread only if its own timeout leaves
    this much room.
    """

    max_document_bytes: int | None = None
    """Largest ``data`` or entry in bytes of UTF-8, None = no limit of the backend's own."""

    def __init__(self) -> None:
        self._closed = False

    # -- what a backend implements ------------------------------------------------------------

    @abstractmethod
    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | StorageError | None]:
        """Return what is stored under each key, in order, tombstones included.

        A record that cannot be decoded is answered by its ``CorruptRecordError``, in its place,
        so that it disturbs no other. A failure of the backend itself is raised.
        """

    @abstractmethod
    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        """Return the id of the entry at each (thread id, seq), None where there is none."""

    @abstractmethod
    def _read_entries(  # noqa: PLR0913 - a range has two ends, a filter, a size and a direction
        self,
        thread_id: str,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None,
        limit: int | None,
        newest: bool,
    ) -> Sequence[Entry]:
        """Return entries with ``start <= seq < stop``, ascending, of ``kinds`` if given.

        With ``limit`` at most that many: the first ones, or with ``newest`` the last ones.
        """

    @abstractmethod
    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out the rules of ``commit``; keys differ and sizes have been checked.

        ``torpor.storage.plan.plan`` decides a change against the stored record.
        """

    @abstractmethod
    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        """Return up to ``limit`` live records whose key has ``prefix``, each key once.

        ``after`` is the last key of the previous page. Ordered by key's code points where the
        backend can. ``data`` may be left None. Corrupt records are passed over.
        """

    @abstractmethod
    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        """Return live records with ``wake_at <= before``, earliest first."""

    @abstractmethod
    def _vacuum(self, before: float) -> int:
        """Remove tombstones with ``updated_at < before``; return how many."""

    def _close(self) -> None:
        """Release what the backend opened. Called once."""

    # -- writing ------------------------------------------------------------------------------

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Write each change, atomically each, and return its outcome in the same order.

        Raises ``ValueError`` for two changes of one key, and ``StorageError`` when the outcome
        of the whole batch is unknown: send the same changes again. Does not retry by itself.
        """
        self._require_open()
        if len({(change.space, change.key) for change in changes}) != len(changes):
            msg = "one change per key in a batch"
            raise ValueError(msg)
        outcomes: dict[str, Outcome] = {}
        fitting: list[Change] = []
        for change in changes:
            error = self._invalid(change)
            if error is None:
                fitting.append(change)
            else:
                outcomes[change.id] = Rejected(error)
        if fitting:
            for change, outcome in zip(fitting, self._commit_storable(fitting), strict=True):
                outcomes[change.id] = outcome
        return [outcomes[change.id] for change in changes]

    def put_checkpoint(  # noqa: PLR0913 - all but the first two are keywords
        self,
        key: str,
        value: Any,
        *,
        expected_rev: int | None = None,
        kind: str = "",
        version: int = 1,
        wake_at: float | None = None,
    ) -> int:
        """Replace the whole record and return its new revision.

        ``value`` is plain JSON data. Transient errors are retried for 30 s. Raises
        ``ConflictError`` (nothing written), ``UnserializableError``, ``InvalidKeyError``,
        ``RecordTooLargeError``, ``StorageError``.
        """
        put = Put(data=codec.dumps(value, f"the value of {key!r}"), kind=kind, version=version)
        change = Change(
            key=validate_key(key),
            expected_rev=expected_rev,
            put=put,
            wake_at=_moment(wake_at),
            at=time.time(),
        )
        return self._commit_one(change).rev

    def delete_checkpoint(self, key: str, *, expected_rev: int | None = None) -> None:
        """Remove the record and the thread it owns. No error if there is none."""
        self._commit_one(
            Change(key=validate_key(key), expected_rev=expected_rev, delete=True, at=time.time())
        )

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
        if isinstance(entries, Entry) or hasattr(entries, "keys"):
            entries = [entries]  # type: ignore[list-item]  # narrowed by the protocol of mappings
        now = time.time()
        prepared = tuple(_entry(entry, now) for entry in entries)  # type: ignore[arg-type]
        codec.dumps(metadata, "metadata")
        self._require_standalone(thread_id)
        write = ThreadWrite(id=thread_id, entries=prepared, metadata=metadata)
        saved = self._commit_one(
            Change(
                key=thread_id,
                space=Space.THREADS,
                expected_rev=expected_rev,
                thread=write,
                wake_at=_moment(wake_at),
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

    def vacuum(self, older_than: float) -> int:
        """Remove tombstones more than ``older_than`` seconds old; return how many.

        A key whose tombstone is gone starts again at revision 1: keep them longer than any
        writer of theirs may lag behind.
        """
        self._require_open()
        return self._vacuum(time.time() - older_than)

    # -- reading ------------------------------------------------------------------------------

    def get_checkpoint(self, key: str) -> Checkpoint | None:
        """Return the record under ``key``, None if there is none."""
        record = self._one(Space.CHECKPOINTS, key)
        return None if record is None else _checkpoint(record)

    def read(self, keys: Sequence[str]) -> list[Record | StorageError | None]:
        """Return the live checkpoint record of each key, in order, in one step.

        A corrupt one is answered by its error in its place. The pointer of a record to its
        thread is verified: a thread that is gone or disagrees is answered by
        ``MissingThreadError`` or ``ThreadMismatchError``. No entry is loaded.
        """
        self._require_open()
        records = [
            None if isinstance(found, Record) and found.deleted else found
            for found in self._read(Space.CHECKPOINTS, keys)
        ]
        pointers = [
            (i, record.thread)
            for i, record in enumerate(records)
            if isinstance(record, Record) and record.thread and record.thread.last is not None
        ]
        if pointers:
            places = [(head.id, head.rev - 1) for _, head in pointers]
            for (i, head), newest in zip(pointers, self._read_entry_ids(places), strict=True):
                if newest != head.last and head.start < head.rev:
                    records[i] = self._read_again(keys[i], records[i], newest)
        return records

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
        entries = self._read_entries(
            thread_id, start, stop, kinds=kinds, limit=limit, newest=newest
        )
        if kinds is None:
            count = stop - start if limit is None else min(limit, stop - start)
            first = stop - count if newest else start
            if [entry.seq for entry in entries] != list(range(first, first + count)):
                raise CorruptRecordError(thread_id, f"entries {start} to {stop - 1} have gaps")
        return entries

    def list_checkpoints(
        self, prefix: str = "", *, cursor: str | None = None, limit: int = 100
    ) -> Page[Record]:
        """Return one page of live checkpoint records by key prefix; ``data`` may be None."""
        return self._page(Space.CHECKPOINTS, prefix, cursor, limit)

    def list_threads(
        self, prefix: str = "", *, cursor: str | None = None, limit: int = 100
    ) -> Page[Record]:
        """Return one page of standalone threads' head records by id prefix.

        The head of an owned thread is the ``thread`` of its owner's checkpoint.
        """
        return self._page(Space.THREADS, prefix, cursor, limit)

    def list_due(self, before: float, limit: int = 100) -> Sequence[Due]:
        """Return up to ``limit`` records with ``wake_at <= before``, earliest first."""
        self._require_open()
        return self._list_due(before, limit)

    # -- life ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what this storage opened itself. Twice is no error."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- inner --------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._closed:
            msg = f"this {self.name} storage is closed"
            raise StorageClosedError(msg)

    def _invalid(self, change: Change) -> StorageError | None:
        limit = self.max_document_bytes
        if limit is None:
            return None
        documents = [change.put.data] if change.put else []
        if change.thread:
            documents += [codec.encode_entry(entry) for entry in change.thread.entries]
        for document in documents:
            if len(document) * 4 > limit and (size := len(document.encode())) > limit:
                return RecordTooLargeError(change.key, size=size, limit=limit)
        return None

    def _commit_storable(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        try:
            return self._commit(changes)
        except (TypeError, ValueError, RecursionError):
            # Encoding everything beforehand would cost every commit what only this one needs.
            refused = {change.id: found for change in changes if (found := _unstorable(change))}
            if not refused:
                raise
            others = [change for change in changes if change.id not in refused]
            outcomes = iter(self._commit(others) if others else ())
            return [
                Rejected(refused[change.id]) if change.id in refused else next(outcomes)
                for change in changes
            ]

    def _commit_one(self, change: Change) -> Saved:
        for attempt in retrying():
            with attempt:
                [outcome] = self.commit([change])
                return _saved(outcome, resent=attempt.retry_state.attempt_number > 1)
        raise AssertionError  # tenacity re-raises the last error

    def _one(self, space: Space, key: str) -> Record | None:
        self._require_open()
        limit = MAX_KEY_BYTES + (_OWNED_ID_BYTES if space is Space.THREADS else 0)
        [record] = self._read(space, [validate_key(key, limit)])
        if isinstance(record, StorageError):
            raise record
        return None if record is None or record.deleted else record

    def _owner(self, thread_id: str) -> Record | None:
        key, mark, _ = thread_id.rpartition("#")
        if not mark or not key:
            return None
        owner = self._one(Space.CHECKPOINTS, key)
        owns = owner is not None and owner.thread is not None and owner.thread.id == thread_id
        return owner if owns else None

    def _require_standalone(self, thread_id: str) -> None:
        validate_key(thread_id)
        if self._owner(thread_id) is not None:
            raise OwnedThreadError(thread_id, "owned by an agent; send that agent a message")

    def _read_again(
        self, key: str, record: Record | StorageError | None, newest: str | None
    ) -> Record | StorageError | None:
        """Return the damage of a record whose thread's newest entry is ``newest``, if it is."""
        [again] = self._read(Space.CHECKPOINTS, [key])
        if again != record or not isinstance(again, Record) or again.thread is None:
            return self.read([key])[0]  # it was written between the two readings
        return self._thread_damage(again.thread, newest)

    def _thread_damage(self, head: ThreadHead, newest: str | None) -> StorageError:
        if newest is None and not self._read_entries(
            head.id, 0, head.rev, kinds=None, limit=1, newest=True
        ):
            return MissingThreadError(head.id, f"no entries, {head.rev} expected")
        return ThreadMismatchError(
            head.id, f"entry {head.rev - 1} is {newest!r}, the checkpoint says {head.last!r}"
        )

    def _page(self, space: Space, prefix: str, cursor: str | None, limit: int) -> Page[Record]:
        self._require_open()
        if limit < 1:
            msg = "limit is at least 1"
            raise ValueError(msg)
        records = self._list(space, prefix, _decode_cursor(cursor), limit + 1)
        more = len(records) > limit
        items = tuple(records[:limit])
        return Page(items=items, cursor=_encode_cursor(items[-1].key) if more else None)


def _unstorable(change: Change) -> StorageError | None:
    """Return why ``change`` has no JSON form in UTF-8, None if it has one."""
    documents = [change.put.data] if change.put else []
    try:
        if change.thread:
            documents += map(codec.encode_entry, change.thread.entries)
            codec.dumps(change.thread.metadata, "metadata")
        for document in documents:
            document.encode()
    except (TypeError, ValueError, RecursionError, UnserializableError) as error:
        refusal = StorageError(f"{change.key!r} cannot be stored: {error}")
        refusal.__cause__ = error
        return refusal
    return None


def _entry(value: Entry | Mapping[str, Any], now: float) -> Entry:
    given = value if isinstance(value, Entry) else None
    fields = {} if given else dict(value)  # type: ignore[arg-type]
    entry = given or Entry(
        kind=fields.pop("kind", "note"),
        payload=fields.pop("payload", {}),
        refs=fields.pop("refs", {}),
        at=fields.pop("at", now),
        id=fields.pop("id", None) or f"entry_{new_id()}",
    )
    fields.pop("seq", None)
    if fields:
        msg = f"an entry has no {', '.join(sorted(fields))}"
        raise UnserializableError(msg)
    codec.dumps([entry.payload, entry.refs, entry.kind, entry.id, entry.at], "the entry")
    return entry


def _moment(wake_at: float | None) -> float | None:
    if wake_at is not None and not math.isfinite(wake_at):
        msg = f"wake_at is a time in seconds, not {wake_at}"
        raise ValueError(msg)
    return wake_at


def _checkpoint(record: Record) -> Checkpoint:
    assert record.data is not None
    return Checkpoint(
        key=record.key,
        rev=record.rev,
        kind=record.kind,
        version=record.version,
        data=record.data,
        thread=record.thread,
        wake_at=record.wake_at,
        updated_at=record.updated_at,
    )


def _saved(outcome: Outcome, *, resent: bool) -> Saved:
    if isinstance(outcome, Conflict):
        raise ConflictError(
            outcome.key,
            expected=outcome.expected,
            found=outcome.found,
            outcome="unknown" if resent else "not_applied",
        )
    if isinstance(outcome, Rejected):
        raise outcome.error
    return outcome


def _encode_cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _decode_cursor(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        msg = f"not a cursor of this storage: {cursor!r}"
        raise ValueError(msg) from error
