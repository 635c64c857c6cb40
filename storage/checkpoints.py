"""The operations on checkpoints, written once for every backend."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from torpor.storage import codec
from torpor.storage.backend import Backend, readable
from torpor.storage.errors import (
    MissingThreadError,
    StorageError,
    ThreadMismatchError,
)
from torpor.storage.keys import validate_key
from torpor.storage.records import Change, Checkpoint, Page, Put, Record, Space, ThreadHead

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CheckpointOperations"]


class CheckpointOperations(Backend):
    """Records under keys, each with a revision."""

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
            wake_at=wake_at,
            at=time.time(),
        )
        return self._commit_one(change).rev

    def delete_checkpoint(self, key: str, *, expected_rev: int | None = None) -> None:
        """Remove the record and the thread it owns. No error if there is none."""
        self._commit_one(
            Change(key=validate_key(key), expected_rev=expected_rev, delete=True, at=time.time())
        )

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
            (None if found.deleted else readable(found, Space.CHECKPOINTS))
            if isinstance(found, Record)
            else found
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

    def list_checkpoints(
        self, prefix: str = "", *, cursor: str | None = None, limit: int = 100
    ) -> Page[Record]:
        """Return one page of live checkpoint records by key prefix; ``data`` may be None."""
        return self._page(Space.CHECKPOINTS, prefix, cursor, limit)

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
