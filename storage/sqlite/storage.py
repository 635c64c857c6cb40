"""Checkpoints and threads in one SQLite file, by the standard library's driver."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args
from urllib.parse import parse_qsl, unquote

from torpor.storage.base import Storage
from torpor.storage.errors import ConfigurationError, CorruptRecordError, StorageError
from torpor.storage.inspection import Finding
from torpor.storage.records import Due, Record, Rejected, Space
from torpor.storage.rows import record_of_row
from torpor.storage.sqlite import statements as sql
from torpor.storage.sqlite.commit import apply_changes
from torpor.storage.sqlite.direct import write_directly
from torpor.storage.sqlite.file import DatabaseFile, Synchronous
from torpor.storage.sqlite.rows import (
    as_json,
    entry_of_text,
    record_of_json,
    record_of_text,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator, Sequence

    from torpor.storage.records import Change, Entry, Outcome

__all__ = ["SQLiteStorage"]

_OPTIONS: dict[str, Callable[[str], Any]] = {
    "synchronous": str,
    "busy_timeout": float,
    "page_size": int,
    "max_bytes": int,
}
_PAGE_SIZES = {2**power for power in range(9, 17)}

_ENTRIES_AT_ONCE = 1000
_AFTER_ALL = "\U0010ffff" * 150  # behind a prefix: not before any key that begins with it
# Raised by a batch for what one of its changes holds.
_UNSTORABLE = (TypeError, ValueError, OverflowError, RecursionError, sqlite3.DataError)


class SQLiteStorage(Storage):
    """Everything in one SQLite file, with a write-ahead log (``-wal``) beside it while in use.

    ``synchronous`` says what a saved change survives. ``"full"``: the end of the process, of
    the operating system, and of power, if the disk keeps what it reported as written; each
    commit costs one sync, however many changes it holds. ``"normal"``: the end of the process;
    with the system or the power the last commits may go, each of them whole. ``"off"``: the
    same, but loss of power may destroy the file.

    ``busy_timeout``: seconds to wait for writers of this and other processes, then
    ``StorageUnavailableError``. ``page_size``: bytes, a power of two from 512 to 65536, of a
    new file; 8192 keeps an agent of 0.9 KB in 1.1 KB. ``max_bytes``: largest size of the file,
    beyond which saving is a ``StorageFullError``.

    Many processes may use one file, on one machine: not over a network file system. The log
    is moved into the file every 1000 pages and kept at about 32 MiB, unless another process reads
    all the time. ``vacuum`` leaves free space inside the file, for new records. Listings are
    ordered by key.
    """

    name: ClassVar[str] = "sqlite"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "full",
        busy_timeout: float = 5.0,
        page_size: int = 8192,
        max_bytes: int | None = None,
    ) -> None:
        """Open the file, or create it with its folders.

        Raises ``ConfigurationError`` for an option that cannot be and for a file that is not
        Torpor's, ``SchemaVersionError`` for one that a newer Torpor wrote; both stay unchanged.
        """
        super().__init__()
        if str(path) in {"", ":memory:"}:
            msg = "a SQLite storage is a file; for one in memory use MemoryStorage, 'memory:'"
            raise ConfigurationError(msg)
        if synchronous not in get_args(Synchronous):
            msg = f"synchronous is 'full', 'normal' or 'off', not {synchronous!r}"
            raise ConfigurationError(msg)
        if page_size not in _PAGE_SIZES:
            msg = f"page_size is a power of two from 512 to 65536, not {page_size}"
            raise ConfigurationError(msg)
        if not 0 <= busy_timeout <= threading.TIMEOUT_MAX:
            msg = f"busy_timeout is a number of seconds, not {busy_timeout}"
            raise ConfigurationError(msg)
        self.timeout = busy_timeout
        self._file = DatabaseFile(
            Path(path),
            synchronous=synchronous,
            busy_timeout=busy_timeout,
            page_size=page_size,
            max_bytes=max_bytes,
        )

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open ``sqlite:///relative/path`` or ``sqlite:////absolute/path``, percent-encoded.

        Options may stand in the URL too: ``?synchronous=normal&busy_timeout=2``; ``options``
        win.
        """
        place, _, query = url.partition(":")[2].partition("?")
        if not place.startswith("///"):
            msg = f"{url!r} names no file: write sqlite:///path, or use MemoryStorage, 'memory:'"
            raise ConfigurationError(msg)
        in_url = dict(parse_qsl(query, keep_blank_values=True))
        unknown = sorted((in_url.keys() | options.keys()) - _OPTIONS.keys())
        if unknown:
            msg = f"{url!r}: no option {', '.join(unknown)}; there are {', '.join(_OPTIONS)}"
            raise ConfigurationError(msg)
        try:
            given = {name: _OPTIONS[name](value) for name, value in in_url.items()}
        except ValueError as error:
            msg = f"{url!r}: {error}"
            raise ConfigurationError(msg) from error
        return cls(unquote(place.removeprefix("///")), **{**given, **options})

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def size_bytes(self) -> int:
        """Return the bytes on disk: the file and its write-ahead log."""
        return self._file.size_bytes()

    # -- reading ------------------------------------------------------------------------------

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | StorageError | None]:
        if len(keys) == 1:
            return [self._read_one(space, keys[0])]
        found: list[Record | StorageError | None] = [None] * len(keys)
        try:
            text = self._fetch_text(sql.read_records(space), (as_json(keys),))
            for row in text.split(sql.ROW) if text else ():
                index, record = record_of_text(row, keys)
                found[index] = record
        except (CorruptRecordError, sqlite3.DataError):  # one by one, to find out which
            return [self._read_one(space, key) for key in keys]
        return found

    def _read_one(self, space: Space, key: str) -> Record | StorageError | None:
        try:
            row = self._file.fetch(sql.read_record(space), (key,))
            return None if row is None else record_of_row(row)
        except CorruptRecordError as error:
            return CorruptRecordError(key, error.detail)

    def _fetch_text(self, statement: str, parameters: Any) -> str:
        """Return the one value of a statement; broken text in it as lone surrogates."""
        [value] = self._file.fetch(statement, parameters)
        return str(value or b"", "utf-8", "surrogateescape")

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        ids: list[str | None] = [None] * len(places)
        for index, entry_id in json.loads(self._fetch_text(sql.ENTRY_IDS, (as_json(places),))):
            ids[index] = entry_id
        return ids

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
        statement = sql.read_entries(of_kinds=kinds is not None, newest=newest)
        missing = stop - start if limit is None else limit
        at_once = _ENTRIES_AT_ONCE
        entries: list[Entry] = []
        while missing > 0:
            count = min(missing, at_once)
            parameters: dict[str, str | int] = {
                "thread": thread_id,
                "start": start,
                "stop": stop,
                "kinds": as_json(list(kinds or ())),
                "limit": count,
            }
            try:
                text = self._fetch_text(statement, parameters)
            except sqlite3.DataError:  # together they are larger than a value may be
                if at_once == 1:
                    raise
                at_once = max(1, at_once // 8)
                continue
            page = [entry_of_text(thread_id, row) for row in text.split(sql.ROW)] if text else []
            entries += page
            missing -= len(page)
            if len(page) < count:
                break
            if newest:
                stop = page[-1].seq
            else:
                start = page[-1].seq + 1
        return entries[::-1] if newest else entries

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        begin = prefix if after is None else max(prefix, after + "\0")
        records: list[Record] = []
        while len(records) < limit:
            count = limit - len(records)
            first = begin.encode("utf-8", "surrogateescape")
            text = self._fetch_text(sql.list_records(space), (first, prefix + _AFTER_ALL, count))
            rows = json.loads(text)
            found = (self._listed(space, row) for row in rows)
            records += (record for record in found if isinstance(record, Record))
            if len(rows) < count:
                break
            begin = rows[-1][0] + "\0"
        return records

    def _listed(self, space: Space, row: Sequence[Any]) -> Record | StorageError | None:
        try:
            return record_of_json(row)
        except CorruptRecordError:
            return self._read_one(space, row[0])

    def _list_keys(
        self, space: Space, after: str | None, limit: int, *, tombstones: bool
    ) -> Sequence[str]:
        return self._texts(sql.list_keys(space, tombstones=tombstones), after, limit)

    def _list_thread_ids(self, after: str | None, limit: int) -> Sequence[str]:
        return self._texts(sql.LIST_THREADS, after, limit)

    def _inspect(self) -> Iterator[Finding]:
        try:
            found = self._fetch_text(sql.INTEGRITY, ())
        except CorruptRecordError as error:
            found = error.detail
        if found != "ok":
            for line in found.splitlines():
                yield Finding("database", str(self.path), line)
            return
        for space in Space:
            for key in json.loads(self._fetch_text(sql.strange_keys(space), ())):
                yield Finding("record", f"{space.value} {key}", "its key is no text")

    def _texts(self, statement: str, after: str | None, limit: int) -> Sequence[str]:
        begin = "" if after is None else after + "\0"
        first = begin.encode("utf-8", "surrogateescape")
        texts: list[str] = json.loads(self._fetch_text(statement, (first, limit)))
        return texts

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        rows = json.loads(self._fetch_text(sql.LIST_DUE, {"before": before, "limit": limit}))
        return [Due(Space(space), key, float(wake_at)) for space, key, wake_at in rows]

    # -- writing ------------------------------------------------------------------------------

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        deadline = self._file.deadline()
        try:
            saved = write_directly(self._file, changes, deadline)
            if saved is not None:
                return saved
            return self._file.write(lambda found: apply_changes(found, changes), deadline)
        except (*_UNSTORABLE, CorruptRecordError) as error:
            if len(changes) == 1:
                return [Rejected(_refusal(changes[0].key, error))]
        return [outcome for change in changes for outcome in self._commit([change])]

    def _vacuum(self, before: float) -> int:
        return self._file.write(
            lambda connection: sum(
                connection.execute(sql.vacuum(space), (before,)).rowcount for space in Space
            )
        )

    def _close(self) -> None:
        self._file.close()


def _refusal(key: str, error: Exception) -> StorageError:
    refusal = (
        CorruptRecordError(key, error.detail)
        if isinstance(error, CorruptRecordError)
        else StorageError(f"{key!r} cannot be stored: {error}")
    )
    refusal.__cause__ = error
    return refusal
