"""Looking for damage: everything is read and compared, nothing is written.

========== ==============================================================================
Problem    Means
========== ==============================================================================
database   the place as a whole is damaged, as SQLite's own ``integrity_check`` says
record     a record fails its checksum or cannot be decoded
pointer    a record and the newest entry of its thread disagree
thread     a thread has gaps, or entries that fail their checksum
orphan     entries that belong to no record, where the backend never leaves such behind
wake-up    nothing would wake an agent that has asked for it (file storage)
========== ==============================================================================
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from torpor.storage.encoding import NO_CODEC
from torpor.storage.errors import (
    CorruptRecordError,
    DecryptionError,
    MissingThreadError,
    StorageError,
    StorageUnavailableError,
    ThreadMismatchError,
)
from torpor.storage.inspection import Finding
from torpor.storage.records import Record, Space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torpor.storage.base import Storage
    from torpor.storage.records import ThreadHead

__all__ = ["Finding", "check"]

T = TypeVar("T")

_AT_ONCE = 200
_ENTRIES_AT_ONCE = 500


def check(
    storage: Storage, *, on_batch: Callable[[int], object] | None = None
) -> Iterator[Finding]:
    """Yield what is wrong with a storage and with each record and thread in it.

    May be used while others write: what looks wrong is looked at again. Costs a reading of
    everything. ``on_batch`` is told now and then how many records were looked at. A storage of
    your own that cannot list what it cannot decode (``_list_keys``) hides a damaged record.
    Raises ``StorageUnavailableError`` if the storage is not to be reached.
    """
    yield from storage.inspect()
    checked = 0
    unread: list[Finding] = []
    for space in Space:
        batches = _batches(storage.all_keys(space, tombstones=True))
        for keys in _readable(batches, unread):
            yield from _check_records(storage, space, keys)
            checked += len(keys)
            if on_batch is not None:
                on_batch(checked)
    yield from _readable(_orphans(storage), unread)
    yield from unread


def _readable(items: Iterator[T], unread: list[Finding]) -> Iterator[T]:
    """Yield ``items`` until they cannot be read any more, and add that to ``unread``."""
    try:
        yield from items
    except CorruptRecordError as error:
        unread.append(Finding("database", error.key, error.detail))


def _check_records(storage: Storage, space: Space, keys: Sequence[str]) -> Iterator[Finding]:
    for key, found in zip(keys, _read(storage, space, keys), strict=True):
        record = found
        while record is not None:
            problem = _problem(storage, record)
            if problem is None:
                break
            [again] = _read(storage, space, [key])
            if _is_same(again, record):
                yield Finding(problem[0], key, problem[1])
                break
            record = again  # it was written meanwhile


def _read(
    storage: Storage, space: Space, keys: Sequence[str]
) -> list[Record | StorageError | None]:
    if space is Space.CHECKPOINTS:
        return storage.read(keys)
    return storage.read_records(space, keys)


def _is_same(one: Record | StorageError | None, other: Record | StorageError | None) -> bool:
    if isinstance(one, StorageError) and isinstance(other, StorageError):
        return str(one) == str(other)
    return one == other


def _problem(storage: Storage, record: Record | StorageError) -> tuple[str, str] | None:
    """Return the name of a record's problem and what it is, None if it has none."""
    if isinstance(record, StorageError):
        if isinstance(record, MissingThreadError | ThreadMismatchError):
            return "pointer", str(record)
        if isinstance(record, DecryptionError) and record.detail == NO_CODEC:
            return None  # its checksum fits, and that is all that can be seen without its key
        return "record", getattr(record, "detail", str(record))
    return _thread_problem(storage, record.thread) if record.thread else None


def _thread_problem(storage: Storage, head: ThreadHead) -> tuple[str, str] | None:
    last = None
    for start in range(head.start, head.rev, _ENTRIES_AT_ONCE):
        stop = min(head.rev, start + _ENTRIES_AT_ONCE)
        try:
            last = storage.read_entries(head.id, start, stop)[-1].id
        except StorageUnavailableError:
            raise
        except StorageError as error:
            return "thread", getattr(error, "detail", str(error))
    if last is not None and last != head.last:
        return "pointer", f"its newest entry is {last!r}, its head says {head.last!r}"
    return None


def _orphans(storage: Storage) -> Iterator[Finding]:
    for ids in _batches(storage.all_thread_ids()):
        for thread_id in _unowned(storage, ids):
            # An agent that was deleted meanwhile has taken its entries along.
            if storage.has_entries(thread_id) and _unowned(storage, [thread_id]):
                yield Finding("orphan", thread_id, "its entries belong to no record")


def _unowned(storage: Storage, ids: Sequence[str]) -> list[str]:
    """Return those of the threads that no sound record stands for."""
    heads = storage.read_records(Space.THREADS, ids)
    owners = storage.read_records(
        Space.CHECKPOINTS, [thread_id.rpartition("#")[0] or thread_id for thread_id in ids]
    )
    unowned: list[str] = []
    for thread_id, head, owner in zip(ids, heads, owners, strict=True):
        owned = isinstance(owner, StorageError) or (
            owner is not None and owner.thread is not None and owner.thread.id == thread_id
        )
        if head is None and not owned:
            unowned.append(thread_id)
    return unowned


def _batches(values: Iterable[str]) -> Iterator[list[str]]:
    values = iter(values)
    while some := list(islice(values, _AT_ONCE)):
        yield some
