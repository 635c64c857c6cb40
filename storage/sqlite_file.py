"""One SQLite file: its schema, its connections, its transactions and its errors."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from torpor.storage.errors import (
    ConfigurationError,
    CorruptRecordError,
    SchemaVersionError,
    StorageClosedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from torpor.storage.sqlite_statements import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SCHEMA_VERSION", "DatabaseFile", "Synchronous"]

T = TypeVar("T")
Synchronous = Literal["full", "normal", "off"]

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x546F7270  # "Torp": at byte 68 of the file, where file(1) looks
_MINIMUM = (3, 38, 0)  # the first release with JSON functions and operators in every build
_MAX_IDLE = 8
_CACHE_KIBIBYTES = 16 * 1024
_CHECKPOINT_PAGES = 1000
_MAX_WAL_BYTES = 64 * 1024 * 1024
_CHECKPOINT_WAIT_MS = 200
_POLL_SECONDS = (0.0005, 0.0015)

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_INTERRUPT,
}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class DatabaseFile:
    """A SQLite file in WAL mode with the schema of this package.

    Connections are opened on demand and kept in a pool, last in first out, so that one that
    hangs holds up nobody else's reads. Writers of this process queue on a lock, which is fair
    where SQLite's own waiting is not; writers of other processes are waited for by SQLite. A
    forked child begins with connections of its own.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Synchronous,
        busy_timeout: float,
        page_size: int,
        max_bytes: int | None,
    ) -> None:
        if sqlite3.sqlite_version_info < _MINIMUM:
            msg = f"SQLite {sqlite3.sqlite_version} is too old: 3.38 or newer is needed"
            raise ConfigurationError(msg)
        self.path = path
        self._busy_timeout = busy_timeout
        self._page_size = page_size
        self._pragmas = {
            "synchronous": synchronous,
            "cache_size": -_CACHE_KIBIBYTES,
            "wal_autocheckpoint": _CHECKPOINT_PAGES,
            "journal_size_limit": _MAX_WAL_BYTES,
        }
        if max_bytes is not None:
            self._pragmas["max_page_count"] = max(1, max_bytes // page_size)
        self._wal = f"{path}-wal"
        self._wal_limit = _MAX_WAL_BYTES
        self._closed = False
        self._begin_process()
        _open_files.add(self)
        try:
            self._prepare()
        except sqlite3.Error as error:
            msg = f"cannot open {path} as a SQLite database: {error}"
            if _primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise StorageUnavailableError(msg) from error
            raise ConfigurationError(msg) from error

    def _begin_process(self) -> None:
        self._idle: list[sqlite3.Connection] = []
        self._write_lock = threading.RLock()

    def forget_parent(self) -> None:
        """Start afresh in a forked child; SQLite forbids to use, or close, what it inherited."""
        _inherited.extend(self._idle)
        self._begin_process()

    # -- transactions -------------------------------------------------------------------------

    def fetch(self, statement: str, parameters: Any) -> Any:
        """Return the first row of ``statement``, None if there is none."""
        connection = self._take()
        try:
            cursor = self._execute(connection, statement, parameters, self._deadline())
            try:
                return cursor.fetchone()
            finally:
                cursor.close()
        except sqlite3.Error as error:
            raise self._translated(error) from error
        finally:
            self._give_back(connection)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in a write transaction and return its result once that is committed.

        Whatever is raised, the transaction is rolled back.
        """
        connection = None
        deadline = self._deadline()
        try:
            if not self._write_lock.acquire(timeout=self._busy_timeout):
                msg = f"{self.path} is busy with another write of this process"
                raise StorageUnavailableError(msg)
            connection = self._take()
            self._execute(connection, "BEGIN IMMEDIATE", (), deadline)
            result = work(connection)
            connection.execute("COMMIT")
            if os.stat(self._wal).st_size > self._wal_limit:
                self._empty_wal(connection)
        except sqlite3.Error as error:
            raise self._translated(error) from error
        finally:
            if connection is not None:
                self._give_back(connection)
            # An RLock knows its owner: an interrupt may have come before or after acquire.
            with suppress(RuntimeError):
                self._write_lock.release()
        return result

    def _deadline(self) -> float:
        return time.monotonic() + self._busy_timeout

    def _execute(
        self, connection: sqlite3.Connection, statement: str, parameters: Any, deadline: float
    ) -> sqlite3.Cursor:
        """Execute a statement that may meet the lock of another process, and wait for it.

        SQLite's own waiting sleeps 100 ms at a time, between which a busy process takes the
        lock hundreds of times: a second one starves.
        """
        while True:
            try:
                return connection.execute(statement, parameters)
            except sqlite3.OperationalError as error:
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
            time.sleep(random.uniform(*_POLL_SECONDS))

    def _empty_wal(self, connection: sqlite3.Connection) -> None:
        """Make the log start again at its beginning.

        SQLite does so by itself only at a moment without readers, which a busy program may not
        have for hours. A reader that holds on (it is not ours) is tried again when the log has
        doubled.
        """
        connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_WAIT_MS}")
        try:
            [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.execute("PRAGMA busy_timeout = 0")
        self._wal_limit = 2 * self._wal_limit if busy else _MAX_WAL_BYTES

    def _translated(self, error: sqlite3.Error) -> StorageError:
        code = _primary_code(error)
        message = f"{self.path}: {error}"
        if code in _UNAVAILABLE:
            return StorageUnavailableError(message)
        if code == sqlite3.SQLITE_FULL:
            return StorageFullError(message)
        if code in _CORRUPT or "Could not decode to UTF-8" in message:
            return CorruptRecordError(str(self.path), str(error))
        if self._closed:
            return StorageClosedError(message)
        return StorageError(message)

    # -- connections --------------------------------------------------------------------------

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        if self._closed:
            msg = f"{self.path} is closed"
            raise StorageClosedError(msg)
        try:
            return self._connect()
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.rollback()
            except sqlite3.Error:
                connection.close()
                return
        self._idle.append(connection)
        if self._closed or len(self._idle) > _MAX_IDLE:
            self._close_idle(0 if self._closed else _MAX_IDLE)

    def _close_idle(self, keep: int) -> None:
        while len(self._idle) > keep:
            with suppress(IndexError):
                self._idle.pop(0).close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
        )
        try:
            for name, value in self._pragmas.items():
                connection.execute(f"PRAGMA {name} = {value}").close()
        except BaseException:
            connection.close()
            raise
        return connection

    # -- opening and closing ------------------------------------------------------------------

    def _prepare(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = self.path.stat().st_size if self.path.exists() else 0
        except OSError as error:
            msg = f"cannot open {self.path}: {error}"
            raise ConfigurationError(msg) from error
        if size:
            read_only = f"{self.path.absolute().as_uri()}?mode=ro"
            with closing(
                sqlite3.connect(read_only, uri=True, timeout=self._busy_timeout)
            ) as connection:
                self._is_ours(connection)
        connection = self._connect()
        try:
            connection.execute(f"PRAGMA page_size = {self._page_size}")
            [(mode,)] = self._execute(
                connection, "PRAGMA journal_mode = WAL", (), self._deadline()
            )
            if mode != "wal":
                msg = f"{self.path} cannot have a write-ahead log (is it on a network drive?)"
                raise ConfigurationError(msg)
            if not self._is_ours(connection):
                self._create_schema(connection)
        finally:
            self._give_back(connection)

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Return False for an empty database; raise for one that is not this version's."""
        [(application_id,)] = connection.execute("PRAGMA application_id")
        [(version,)] = connection.execute("PRAGMA user_version")
        [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_master")
        if application_id != _APPLICATION_ID:
            if application_id or version or tables:
                msg = f"{self.path} is a SQLite database of another program; nothing was changed"
                raise ConfigurationError(msg)
            return False
        if version > SCHEMA_VERSION:
            raise SchemaVersionError(str(self.path), found=version, supported=SCHEMA_VERSION)
        return True

    def _create_schema(self, connection: sqlite3.Connection) -> None:
        self._execute(connection, "BEGIN IMMEDIATE", (), self._deadline())
        if not self._is_ours(connection):
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def size_bytes(self) -> int:
        """Return the bytes on disk: the file and its write-ahead log."""
        size = 0
        for path in (self.path, Path(f"{self.path}-wal")):
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        return size

    def close(self) -> None:
        """Close all connections; those in use, when they are given back.

        The last one to close moves the write-ahead log into the file and removes it.
        """
        self._closed = True
        self._close_idle(0)


def _primary_code(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


_open_files: weakref.WeakSet[DatabaseFile] = weakref.WeakSet()
_inherited: list[sqlite3.Connection] = []


def _forget_parents() -> None:
    for file in list(_open_files):
        file.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
