"""Removing from a file store what nobody can reach any more."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from torpor.storage.errors import CorruptRecordError
from torpor.storage.file.documents import OwnedThread
from torpor.storage.file.due import DueHint
from torpor.storage.file.layout import stripe_of
from torpor.storage.records import Space

if TYPE_CHECKING:
    from torpor.storage.file.due import DueIndex
    from torpor.storage.file.io import DurableFiles
    from torpor.storage.file.layout import Layout
    from torpor.storage.file.lock import FileLocks
    from torpor.storage.file.records import RecordReader
    from torpor.storage.records import Record

__all__ = ["Vacuum"]


class Vacuum:
    """Takes one lock at a time, and leaves alone whatever it cannot read.

    What it removes is not forced to be gone: if it comes back after a crash, it is removed again.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        files: DurableFiles,
        records: RecordReader,
        due: DueIndex,
        locks: FileLocks,
    ) -> None:
        self._layout = layout
        self._files = files
        self._records = records
        self._due = due
        self._locks = locks

    def run(self, before: float) -> int:
        """Remove tombstones with ``updated_at < before`` and all leftovers; count tombstones."""
        removed = sum(
            self._sweep_checkpoint(name, before) for name in self._layout.names(Space.CHECKPOINTS)
        )
        removed += sum(
            self.sweep_thread(name, before) for name in self._layout.names(Space.THREADS)
        )
        for hint in self._due.until():
            self._sweep_hint(hint)
        self._files.remove_abandoned()
        return removed

    def sweep_thread(self, name: str, before: float = -math.inf) -> bool:
        """Remove what is dead in a thread's folder; return whether a tombstone went with it.

        Dead are a thread whose owner has let go of it, a deleted thread's entries, its tombstone
        if older than ``before``, and a folder in which nothing ever was.
        """
        folder = self._layout.threads / name
        with self._locks.hold([stripe_of(name)]):
            try:
                found = self._records.find(Space.THREADS, name)
                alive = (
                    self._records.is_owned(found)
                    if isinstance(found, OwnedThread)
                    else found is not None and not found.deleted
                )
            except CorruptRecordError:
                return False
            if alive:
                return False
            if found is not None:
                self._layout.log(name).unlink(missing_ok=True)
                if not isinstance(found, OwnedThread) and found.updated_at >= before:
                    return False
                self._layout.record(Space.THREADS, name).unlink()
            with suppress(OSError):  # not empty: a first append that never came to its end
                folder.rmdir()
            return found is not None and not isinstance(found, OwnedThread)

    def _sweep_checkpoint(self, name: str, before: float) -> bool:
        if not _is_expired(self._readable(Space.CHECKPOINTS, name), before):
            return False
        with self._locks.hold([stripe_of(name)]):
            if not _is_expired(self._readable(Space.CHECKPOINTS, name), before):
                return False
            self._layout.record(Space.CHECKPOINTS, name).unlink()
        return True

    def _sweep_hint(self, hint: DueHint) -> None:
        if self._is_right(hint):
            return
        with self._locks.hold([stripe_of(hint.name)]):
            if not self._is_right(hint):
                self._due.remove(hint)

    def _is_right(self, hint: DueHint) -> bool:
        try:
            record = self._records.record(hint.space, hint.name)
        except CorruptRecordError:
            return True
        return DueHint.of(record, hint.space, hint.name) == hint

    def _readable(self, space: Space, name: str) -> Record | None:
        try:
            return self._records.record(space, name)
        except CorruptRecordError:
            return None


def _is_expired(record: Record | None, before: float) -> bool:
    return record is not None and record.deleted and record.updated_at < before
