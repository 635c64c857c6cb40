"""Copying a file store while it is in use."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from torpor.storage.file.documents import OwnedThread
from torpor.storage.file.due import DueHint, DueIndex
from torpor.storage.file.io import DurableFiles
from torpor.storage.file.layout import Layout, hash_of, stripe_of
from torpor.storage.records import Record, Space

if TYPE_CHECKING:
    from pathlib import Path

    from torpor.storage.file.lock import FileLocks
    from torpor.storage.file.records import RecordReader

__all__ = ["copy_store"]


def copy_store(layout: Layout, records: RecordReader, locks: FileLocks, folder: Path) -> None:
    """Copy what can be read, and force it to the disk; see ``FileStorage.copy_to``.

    Raises ``CorruptRecordError`` for a document that is damaged.
    """
    target = Layout(folder)
    files = DurableFiles(target.workshop, fsync=True)
    target.prepare(files)
    copier = _Copier(layout, records, locks, target, files)
    for space in Space:
        for name in layout.names(space):
            copier.copy(space, name)
    files.sync([target.checkpoints, target.threads, target.due, target.root])


class _Copier:
    def __init__(
        self,
        source: Layout,
        records: RecordReader,
        locks: FileLocks,
        target: Layout,
        files: DurableFiles,
    ) -> None:
        self._source = source
        self._records = records
        self._locks = locks
        self._target = target
        self._due = DueIndex(target.due)
        self._files = files

    def copy(self, space: Space, name: str) -> None:
        """Copy a record with its thread, under the locks of both."""
        threads: set[str] = set()
        while True:
            with self._locks.hold(map(stripe_of, {name, *threads})):
                found = self._records.find(space, name)
                if found is None or isinstance(found, OwnedThread):
                    return  # it is gone, or goes with its owner
                needed = {hash_of(found.thread.id)} if found.thread else set[str]()
                if needed <= threads or space is Space.THREADS:
                    self._copy(space, name, found, needed)
                    return
            threads = needed  # known by now; its lock has to be taken in its order

    def _copy(self, space: Space, name: str, record: Record, threads: set[str]) -> None:
        if space is Space.CHECKPOINTS:
            self._copy_file(self._source.record(space, name))
        for thread in threads or ({name} if space is Space.THREADS else ()):
            self._copy_thread(thread)
        hint = DueHint.of(record, space, name)
        if hint is not None:
            self._due.add(hint)

    def _copy_thread(self, name: str) -> None:
        source = self._source.threads / name
        if not source.is_dir():
            return  # it has no entries yet
        folder = self._target.threads / name
        folder.mkdir(exist_ok=True)
        for place in (self._source.record(Space.THREADS, name), self._source.log(name)):
            if place.exists():
                self._copy_file(place)
        self._files.sync([folder])

    def _copy_file(self, place: Path) -> None:
        target = self._target.root / place.relative_to(self._source.root)
        shutil.copyfile(place, target)
        self._files.sync([target])
