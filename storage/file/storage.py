"""Checkpoints and threads as JSON files in a folder, for people and other programs to read."""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torpor.storage.base import Storage
from torpor.storage.errors import ConfigurationError, StorageError, StorageUnavailableError
from torpor.storage.file.commit import Committer
from torpor.storage.file.copying import copy_store
from torpor.storage.file.due import DueIndex
from torpor.storage.file.inspecting import inspect_store
from torpor.storage.file.io import DurableFiles, translated_errors
from torpor.storage.file.layout import STRIPES, Layout, hash_of
from torpor.storage.file.lock import FileLocks
from torpor.storage.file.log import EntryLog
from torpor.storage.file.records import RecordReader
from torpor.storage.file.url import parse_url, require_options
from torpor.storage.file.vacuum import Vacuum
from torpor.storage.records import Due, Record, Space

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterator, Sequence

    from torpor.storage.inspection import Finding
    from torpor.storage.records import Change, Entry, Outcome

__all__ = ["FileStorage"]


class FileStorage(Storage):
    """A folder of JSON files; ``file_layout`` says what lies where.

    ``path`` is made if it is missing, must be empty or such a store, and must lie whole on one
    file system with POSIX file locks: on Linux, macOS or a BSD, best on a local disk. Any number
    of threads and processes may use it at once. Writers of the same keys wait for each other,
    at most ``timeout`` seconds, then raise ``StorageUnavailableError``; readers never wait.

    What was saved has been forced to the disk. With ``fsync=False`` it survives the process,
    and a crash of the machine may leave what was written last damaged: that is then found by its
    checksum, never taken for sound.

    Reading and writing cost the same however many agents and entries there are. What does
    depend on the number of agents: a page of a listing reads the names of all files, and the
    first page, and every page beyond 100,000 agents, opens each of them; ``vacuum`` reads all.
    ``list_due`` reads the names of the records that have a ``wake_at``. Listings are ordered.

    Raises ``ConfigurationError`` for a folder that holds anything else and where file locks are
    missing (Windows), ``SchemaVersionError`` for a store of a newer Torpor, both untouched, and
    ``StorageError`` if the folder cannot be read.
    """

    name: ClassVar[str] = "file"

    def __init__(
        self, path: str | os.PathLike[str], *, fsync: bool = True, timeout: float = 5.0
    ) -> None:
        super().__init__()
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            msg = f"timeout is a number of seconds above 0, not {timeout!r}"
            raise ConfigurationError(msg)
        self.path = Path(path).absolute()
        self.timeout = timeout
        self._layout = Layout(self.path)
        self._locks = FileLocks(self._layout.locks, STRIPES, timeout=timeout)
        self._records = RecordReader(self._layout)
        self._due = DueIndex(self._layout.due)
        files = DurableFiles(self._layout.workshop, fsync=fsync)
        self._vacuumer = Vacuum(
            layout=self._layout,
            files=files,
            records=self._records,
            due=self._due,
            locks=self._locks,
        )
        self._committer = Committer(
            layout=self._layout,
            files=files,
            records=self._records,
            due=self._due,
            locks=self._locks,
            vacuum=self._vacuumer,
        )
        with translated_errors():
            self._layout.prepare(files)
        with suppress(OSError):  # a store that may only be read is of use too
            files.remove_abandoned()

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open ``file:///absolute/folder`` or ``file:relative/folder``, percent-decoded.

        ``?fsync=off`` and ``?timeout=seconds`` are the class's options; those that are passed
        as ``options`` win.
        """
        path, from_query = parse_url(url)
        require_options(options)
        return cls(path, **(from_query | options))

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | StorageError | None]:
        return [self._read_one(space, key) for key in keys]

    def _read_one(self, space: Space, key: str) -> Record | StorageError | None:
        try:
            with translated_errors():
                return self._records.record(space, hash_of(key), key)
        except StorageUnavailableError:
            raise
        except StorageError as error:
            return error

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        with translated_errors():
            return [EntryLog(self._layout, thread_id).id_at(seq) for thread_id, seq in places]

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
        log = EntryLog(self._layout, thread_id)
        with translated_errors():
            return log.read(start, stop, kinds=kinds, limit=limit, newest=newest)

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        with translated_errors():
            return self._committer.commit(changes)

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        with translated_errors():
            return list(islice(self._records.listing(space, prefix, after), limit))

    def _list_keys(
        self, space: Space, after: str | None, limit: int, *, tombstones: bool
    ) -> Sequence[str]:
        with translated_errors():
            keys = self._records.keys(space, after, tombstones=tombstones)
            return list(islice(keys, limit))

    def _inspect(self) -> Iterator[Finding]:
        with translated_errors():
            yield from inspect_store(self._layout, self._records, self._due)

    def copy_to(self, folder: Path) -> None:
        """Copy the whole store, tombstones too, to a new ``folder``, durably, while it is in use.

        Each agent, with its thread, as it is at one moment; its writers wait while it is copied.
        """
        self._require_open()
        with translated_errors():
            copy_store(self._layout, self._records, self._locks, folder)

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        with translated_errors():
            self._layout.require_store()
            return sorted(islice(self._due_records(before), limit), key=lambda item: item.wake_at)

    def _due_records(self, before: float) -> Iterator[Due]:
        seen: set[tuple[Space, str]] = set()
        for hint in self._due.until(before):
            record = self._records.live(hint.space, hint.name)
            if record is None or record.wake_at is None or record.wake_at > before:
                continue  # a hint that came early, or outlived its time
            if (hint.space, record.key) not in seen:
                seen.add((hint.space, record.key))
                yield Due(hint.space, record.key, record.wake_at)

    def _vacuum(self, before: float) -> int:
        with translated_errors():
            return self._vacuumer.run(before)
