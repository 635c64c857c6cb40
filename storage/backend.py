"""What a backend implements, and the one way to write that everything else is built on."""

from __future__ import annotations

import base64
import binascii
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from torpor.storage import codec
from torpor.storage.encoding import MARK, NO_CODEC, is_encoded, is_encoded_value
from torpor.storage.errors import (
    ConflictError,
    CorruptRecordError,
    DecryptionError,
    InvalidKeyError,
    OwnedThreadError,
    RecordTooLargeError,
    StorageClosedError,
    StorageError,
    TorporError,
    UnserializableError,
)
from torpor.storage.keys import MAX_KEY_BYTES, OWNED_ID_BYTES, validate_key
from torpor.storage.records import (
    Change,
    Conflict,
    Due,
    Entry,
    Outcome,
    Page,
    Record,
    Rejected,
    Saved,
    Space,
)
from torpor.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from types import TracebackType

    from torpor.storage.notifier import Notifier

__all__ = ["Backend", "readable"]


class Backend(ABC):
    """What a storage is made of; ``torpor.storage.base`` has the rules.

    A subclass implements the methods with a leading underscore; each must be safe to call from
    many threads at once, and translates its driver's errors into ``StorageError``s:
    ``StorageUnavailableError`` for whatever may pass by itself. Use it as a context manager, or
    call ``close``.
    """

    name: ClassVar[str]
    """Short name of the backend, as in its URL: ``"sqlite"``."""

    durable: bool = True
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

    def _close(self) -> None:  # noqa: B027 - a backend may have nothing to release
        """Release what the backend opened. Called once."""

    # -- what is built on it ------------------------------------------------------------------

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Write each change, atomically each, and return its outcome in the same order.

        Raises ``ValueError`` for two changes of one key, and ``StorageError`` when the outcome
        of the whole batch is unknown: send the same changes again. Does not retry by itself.
        """
        self._require_open()
        if not changes:
            return []
        many = len(changes) > 1
        if many and len({(change.space, change.key) for change in changes}) != len(changes):
            msg = "one change per key in a batch"
            raise ValueError(msg)
        refused = {change.id: error for change in changes if (error := self._refusal(change))}
        if not refused:
            return self._commit_storable(changes)
        return _around(refused, changes, self._commit_storable)

    def vacuum(self, older_than: float) -> int:
        """Remove tombstones more than ``older_than`` seconds old; return how many.

        A key whose tombstone is gone starts again at revision 1: keep them longer than any
        writer of theirs may lag behind.
        """
        self._require_open()
        return self._vacuum(time.time() - older_than)

    def list_due(self, before: float, limit: int = 100) -> Sequence[Due]:
        """Return up to ``limit`` records with ``wake_at <= before``, earliest first."""
        self._require_open()
        return self._list_due(before, limit)

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

    def notifier(self) -> Notifier | None:
        """Return what tells other processes of news at once; None: this storage can't.

        Connects when it is first used; whoever calls this closes it.
        """
        return None

    # -- for the operations -------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._closed:
            msg = f"this {self.name} storage is closed"
            raise StorageClosedError(msg)

    def _commit_one(self, change: Change) -> Saved:
        for attempt in retrying():
            with attempt:
                [outcome] = self.commit([change])
                return _saved(outcome, resent=attempt.retry_state.attempt_number > 1)
        raise AssertionError  # tenacity re-raises the last error

    def _one(self, space: Space, key: str) -> Record | None:
        self._require_open()
        limit = MAX_KEY_BYTES + (OWNED_ID_BYTES if space is Space.THREADS else 0)
        [record] = self._read(space, [validate_key(key, limit)])
        if isinstance(record, Record):
            record = readable(record, space)
        if isinstance(record, StorageError):
            raise record
        return None if record is None or record.deleted else record

    def _page(self, space: Space, prefix: str, cursor: str | None, limit: int) -> Page[Record]:
        self._require_open()
        if limit < 1:
            msg = "limit is at least 1"
            raise ValueError(msg)
        records = self._list(space, prefix, _decode_cursor(cursor), limit + 1)
        more = len(records) > limit
        items = tuple(records[:limit])
        return Page(items=items, cursor=_encode_cursor(items[-1].key) if more else None)

    def _refusal(self, change: Change) -> TorporError | None:
        """Return why ``change`` can't be committed, None if it can."""
        try:
            validate_key(change.key)
        except InvalidKeyError as error:
            return error
        if change.space is Space.THREADS and self._owner(change.key) is not None:
            return OwnedThreadError(change.key, "owned by an agent; send that agent a message")
        if _is_reserved(change):
            detail = f"{change.key!r}: a document that begins with {MARK!r} is reserved for codecs"
            return UnserializableError(detail)
        return self._too_large(change)

    def _too_large(self, change: Change) -> TorporError | None:
        """Return the error of a change with a document beyond the limit, None if all fit."""
        limit = self.max_document_bytes
        if limit is None:
            return None
        try:
            documents = _documents(change)
        except (TypeError, ValueError, RecursionError):
            return _unstorable(change)
        for document in documents:
            if len(document) * 4 > limit and (size := len(document.encode())) > limit:
                return RecordTooLargeError(change.key, size=size, limit=limit)
        return None

    def _owner(self, thread_id: str) -> Record | None:
        """Return the live record that owns this thread, None if none does."""
        key, mark, _ = thread_id.rpartition("#")
        if not mark or not key:
            return None
        owner = self._one(Space.CHECKPOINTS, key)
        owns = owner is not None and owner.thread is not None and owner.thread.id == thread_id
        return owner if owns else None

    def _commit_storable(self, changes: Sequence[Change]) -> list[Outcome]:
        try:
            return self._outcomes(changes)
        except (TypeError, ValueError, RecursionError):
            # Encoding everything beforehand would cost every commit what only this one needs.
            refused = {change.id: found for change in changes if (found := _unstorable(change))}
            if not refused:
                raise
            return _around(refused, changes, self._outcomes)

    def _outcomes(self, changes: Sequence[Change]) -> list[Outcome]:
        outcomes = list(self._commit(changes))
        if len(outcomes) != len(changes):
            msg = f"{self.name}: {len(outcomes)} outcomes of {len(changes)} changes"
            raise StorageError(msg)
        return outcomes


def _around(
    refused: Mapping[str, TorporError],
    changes: Sequence[Change],
    commit: Callable[[Sequence[Change]], list[Outcome]],
) -> list[Outcome]:
    """Commit all but those whose id is ``refused``; return the outcome of each, in order."""
    others = [change for change in changes if change.id not in refused]
    outcomes = iter(commit(others) if others else ())
    return [
        Rejected(refused[change.id]) if change.id in refused else next(outcomes)
        for change in changes
    ]


def _is_reserved(change: Change) -> bool:
    """Whether ``change`` would store what only a codec may write."""
    if change.put is not None and is_encoded(change.put.data):
        return True
    written = change.thread or change.restore
    if written is None:
        return False
    record = change.restore.record if change.restore else None
    head = record.thread if record else None
    return (
        is_encoded(record.data if record else None)
        or is_encoded_value(change.thread.metadata if change.thread else None)
        or is_encoded_value(head.metadata if head else None)
        or any(is_encoded_value(entry.payload) for entry in written.entries)
    )


def readable(record: Record, space: Space) -> Record | StorageError:
    """Return ``record``, or its error if it can't be of this space, or needs a codec to be read."""
    head = record.thread
    if is_encoded(record.data) or (head is not None and is_encoded_value(head.metadata)):
        return DecryptionError(record.key, NO_CODEC)
    if not record.deleted and (damage := _misfit(record, space)):
        return CorruptRecordError(record.key, damage)
    return record


def _misfit(record: Record, space: Space) -> str | None:
    """Return why a live record is none of this space, although its checksum fits."""
    head = record.thread
    if space is Space.THREADS:
        if head is None or head.id != record.key or head.rev != record.rev:
            return "its head is another thread's"
    elif record.data is None:
        return "it has no data"
    elif head is not None and not head.id.startswith(f"{record.key}#"):
        return "its head is another thread's"
    if head is not None and head.start > head.rev:
        return f"its thread starts at {head.start}, behind its end at {head.rev}"
    return None


def _unstorable(change: Change) -> StorageError | None:
    """Return why ``change`` has no JSON form in UTF-8, None if it has one."""
    try:
        for document in _documents(change):
            document.encode()
    except (TypeError, ValueError, RecursionError, UnserializableError) as error:
        refusal = StorageError(f"{change.key!r} cannot be stored: {error}")
        refusal.__cause__ = error
        return refusal
    return None


def _documents(change: Change) -> list[str]:
    """Return what ``change`` stores, each document as its JSON text."""
    record = change.restore.record if change.restore else None
    data = change.put.data if change.put else record.data if record else None
    documents = [] if data is None else [data]
    head = record.thread if record else None
    written = change.restore or change.thread
    if written is not None:
        documents += map(codec.encode_entry, written.entries)
    metadata = head.metadata if head else change.thread.metadata if change.thread else None
    if metadata:
        documents.append(codec.dumps(metadata, "metadata"))
    return documents


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
