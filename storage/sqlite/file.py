"""One SQLite file: its connections and its transactions."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from torpor.storage.errors import (
    ConfigurationError,
    CorruptRecordError,
    StorageClosedError,
    StorageError,
    StorageUnavailableError,
)
from torpor.storage.sqlite.errors import primary_code, translate
from torpor.storage.sqlite.opening import Opening
from torpor.storage.sqlite.waiting import patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

__all__ = ["DatabaseFile", "Synchronous"]

T = TypeVar("T")
Synchronous = Literal["full", "normal", "off"]

_OLDEST_SQLITE = (3, 38, 0)  # JSON functions and operators in every build

_MAX_IDLE = 8
_CACHED_STATEMENTS = 128
_CACHE_KIBIBYTES = 16 * 1024
_CHECKPOINT_PAGES = 1000
_MAX_WAL_BYTES = 32 * 1024 * 1024
_WATCH_SECONDS = 0.1
_CHECKPOINT_WAIT_MS = 200


class DatabaseFile:
    """A SQLite file in WAL mode with the schema of this package.

    Connections are opened on demand and pooled, last in first out, so that one that hangs holds
    up no reader. Writers of this process queue on a lock, which costs less than SQLite's and is
    fair; the writers of other processes are waited for by polling. Both together wait
    ``busy_timeout`` seconds at most. A forked child begins with connections of its own.

    ``sqlite3.DataError`` (a value beyond SQLite's limit of 1 GB) is passed on; every other
    error of the driver is translated.
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
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            msg = f"SQLite {sqlite3.sqlite_version} is too old: 3.38 or newer is needed"
            raise ConfigurationError(msg)
        self.path: Final = path.absolute()  # connections opened later must not follow a chdir
        self._busy_timeout = busy_timeout
        self._max_bytes = max_bytes
        settings: dict[str, str | int] = {
            "page_size": page_size,  # of a new file; another keeps what it has
            "synchronous": synchronous,
            "fullfsync": int(synchronous == "full"),  # macOS: fsync alone leaves data in the disk
            "cache_size": -_CACHE_KIBIBYTES,
            "temp_store": "memory",  # what a batch puts by: there may be no folder to write to
            "wal_autocheckpoint": _CHECKPOINT_PAGES,
            "journal_size_limit": _MAX_WAL_BYTES,
        }
        self._settings = "".join(f"PRAGMA {name} = {value};" for name, value in settings.items())
        self._wal = self.path.with_name(f"{path.name}-wal")
        self._watch_at = 0.0
        self._wal_limit = _MAX_WAL_BYTES
        self._closed = False
        self._begin_process()
        try:
            opening = Opening(self.path, self._wal, busy_timeout=busy_timeout)
            opening.open(self._creating())
        except BaseException:
            self.close()
            raise
        _files.add(self)

    def _begin_process(self) -> None:
        self._idle: list[sqlite3.Connection] = []
        self._write_lock = threading.RLock()

    def forget_parent(self) -> None:
        """Begin anew in a forked child: SQLite forbids to use or close what it inherited."""
        _inherited.extend(self._idle)
        self._begin_process()

    # -- transactions -------------------------------------------------------------------------

    def fetch(self, statement: str, parameters: Any) -> Any:
        """Return the first row of ``statement``, None if there is none."""
        connection = self._take()
        try:
            cursor = patiently(self.deadline(), connection.execute, statement, parameters)
            try:
                return cursor.fetchone()
            finally:
                cursor.close()
        except UnicodeEncodeError as error:  # by a key that was read here, and is damaged
            raise CorruptRecordError(str(self.path), f"it has no UTF-8 form: {error}") from error
        except sqlite3.Error as error:
            raise translate(self.path, error) from error
        finally:
            self._give_back(connection)

    def write(self, work: Callable[[sqlite3.Connection], T], deadline: float | None = None) -> T:
        """Run ``work`` in a write transaction; return its result when that is committed.

        Whatever is raised, the transaction is rolled back, unless it was committed already.
        ``deadline``, from ``deadline()``: until when to wait for other writers.
        """
        until = self.deadline() if deadline is None else deadline

        def transaction(connection: sqlite3.Connection) -> T:
            patiently(until, connection.execute, "BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
            return result

        return self._written(transaction, until)

    def write_alone(self, statement: str, parameters: Any, deadline: float) -> int:
        """Run one ``statement`` as a transaction; return how many rows it wrote.

        0 too if it has aborted itself by an error; nothing is written then.
        """

        def alone(connection: sqlite3.Connection) -> int:
            try:
                return patiently(deadline, connection.execute, statement, parameters).rowcount
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_ERROR:
                    raise
                return 0

        return self._written(alone, deadline)

    def _written(self, work: Callable[[sqlite3.Connection], T], deadline: float) -> T:
        connection = None
        patience = min(max(deadline - time.monotonic(), 0), self._busy_timeout)
        try:
            if not self._write_lock.acquire(timeout=patience):
                msg = f"{self.path} is locked by another write of this process"
                raise StorageUnavailableError(msg)
            connection = self._take()
            result = work(connection)
            self._watch_wal(connection, deadline - self._busy_timeout)
        except sqlite3.Error as error:
            raise translate(self.path, error) from error
        finally:
            # An interrupt may come anywhere: before or after ``acquire``, too, so that this is not
            # the lock's owner, which alone can release it; and at each call in here.
            try:
                if connection is not None:
                    self._give_back(connection)
            finally:
                try:  # noqa: SIM105 - suppress() is a call, before the lock is released
                    self._write_lock.release()
                except RuntimeError:
                    pass
        return result

    def deadline(self) -> float:
        """Return until when what begins now may wait for other writers."""
        return time.monotonic() + self._busy_timeout

    def _watch_wal(self, connection: sqlite3.Connection, now: float) -> None:
        """Begin the write-ahead log anew if it has grown too long.

        SQLite does so by itself, but only at a moment without a reader, which may not come for
        hours. A reader that holds on is another process's; it is waited for shortly, and again
        when the log has doubled. That fails without harm: what was committed is in the log.

        Seldom, because Linux gives a file that was looked at a new time stamp with its next
        write, and to sync that too takes longer than the write.
        """
        if now < self._watch_at:
            return
        self._watch_at = now + _WATCH_SECONDS
        try:
            size = self._wal.stat().st_size
        except OSError as error:
            msg = f"{self.path} was taken away while it was in use: {error}"
            raise StorageError(msg) from error
        if size <= self._wal_limit:
            return
        self._wal_limit = 2 * size
        with suppress(sqlite3.Error):
            connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_WAIT_MS}")
            [(blocked, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA busy_timeout = 0")
            if not blocked:
                self._wal_limit = _MAX_WAL_BYTES

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
            raise translate(self.path, error) from error

    def _give_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.rollback()
        except sqlite3.Error:
            connection.close()
            return
        self._idle.append(connection)
        if self._closed or len(self._idle) > _MAX_IDLE:
            self._close_idle(keep=0 if self._closed else _MAX_IDLE)

    def _close_idle(self, *, keep: int) -> None:
        while len(self._idle) > keep:
            with suppress(IndexError):  # taken by another thread meanwhile
                self._idle.pop(0).close()

    def _connect(self, mode: Literal["rw", "rwc"] = "rw") -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}",
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
        try:
            deadline = self.deadline()
            # A script waits once for the interpreter where a statement does so three times.
            patiently(deadline, connection.executescript, self._settings)
            if self._max_bytes is not None:
                [(size,)] = patiently(deadline, connection.execute, "PRAGMA page_size")
                pages = f"PRAGMA max_page_count = {self._max_bytes // size or 1}"
                patiently(deadline, connection.execute, pages)
        except BaseException:
            connection.close()
            raise
        return connection

    # -- beginning and end --------------------------------------------------------------------

    @contextmanager
    def _creating(self) -> Generator[sqlite3.Connection]:
        connection = self._connect("rwc")
        try:
            yield connection
        finally:
            self._give_back(connection)

    def size_bytes(self) -> int:
        """Return the bytes on disk of the file and its write-ahead log."""
        size = self.path.stat().st_size
        with suppress(FileNotFoundError):
            size += self._wal.stat().st_size
        return size

    def close(self) -> None:
        """Close the idle connections now, those in use when they are given back.

        The last one of all processes moves the write-ahead log into the file and removes it.
        """
        self._closed = True
        self._close_idle(keep=0)


_files: weakref.WeakSet[DatabaseFile] = weakref.WeakSet()
_inherited: list[sqlite3.Connection] = []  # kept for ever: to free one would close it


def _forget_parents() -> None:
    for file in list(_files):
        file.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
