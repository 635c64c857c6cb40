"""What goes wrong with SQL databases is one typed error, within the timeout."""

from __future__ import annotations

import importlib
import socket
import sqlite3
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg.errors
import pytest
from sqlalchemy import event, exc, text

from tests.storage.sql_kit import number_connections
from torpor.storage import open_storage
from torpor.storage.errors import (
    ConfigurationError,
    MissingDriverError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from torpor.storage.sql import SQLStorage
from torpor.storage.sql.errors import RaceLostError, UnstorableError, translate
from torpor.storage.testing.kit import PATIENCE, checkpoint, put

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.places.sql import SQLServer

pymysql: Any = importlib.import_module("pymysql")  # which has no types


@contextmanager
def _seconds(limit: float) -> Generator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < limit


# -- while it is opened ---------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb"])
def test_connection_refused(scheme: str) -> None:
    """Nobody listens: one error, at once, that can be retried."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]

    with (
        _seconds(5.0),
        pytest.raises(StorageUnavailableError, match="cannot be reached") as caught,
    ):
        open_storage(f"{scheme}://user:secret@127.0.0.1:{port}/test", timeout=2.0)

    assert "secret" not in str(caught.value)
    assert str(port) in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_server_that_never_answers(scheme: str) -> None:
    """Somebody accepts the connection and says nothing: an error within the timeout."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as mute,
        _seconds(5.0),
        pytest.raises(StorageUnavailableError, match="cannot be reached"),
    ):
        open_storage(f"{scheme}://user@127.0.0.1:{mute.getsockname()[1]}/test", timeout=2.0)


def test_unknown_user(sql_server: SQLServer) -> None:
    """A wrong user is to be corrected, not retried; the password is not told."""
    url = sql_server.admin.url.set(username="nobody_of_torpor", password="secret")  # noqa: S106
    with pytest.raises(ConfigurationError, match="user or password is wrong") as caught:
        SQLStorage(url)

    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.__cause__)


def test_missing_database(sql_server: SQLServer) -> None:
    """So is a database that there is not."""
    with pytest.raises(ConfigurationError, match="no such database"):
        SQLStorage(sql_server.admin.url.set(database="no_database_of_torpor"))


@pytest.mark.parametrize(
    ("scheme", "module", "extra"),
    [
        ("postgresql", "psycopg", "postgres"),
        ("mysql", "pymysql", "mysql"),
        ("mariadb", "pymysql", "mysql"),
    ],
)
def test_missing_driver(
    scheme: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the extra that brings the driver."""
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingDriverError, match=rf"pip install 'torpor\[{extra}\]'"):
        open_storage(f"{scheme}://127.0.0.1/test")


# -- while it is used -----------------------------------------------------------------------------


def test_locked_record(sql_server: SQLServer) -> None:
    """A lock that is not let go of ends the wait, not the storage (rule 8)."""
    with open_storage(sql_server.url, timeout=1.0) as storage:
        storage.put_checkpoint("agent", 1)
        with sql_server.admin.begin() as other:
            other.execute(text(f"UPDATE {sql_server.schema}.torpor_checkpoints SET rev = rev"))  # noqa: S608

            with _seconds(3.0), pytest.raises(StorageUnavailableError, match="took too long"):
                storage.commit([put("agent", 2)])
            assert checkpoint(storage, "agent").value == 1

        assert storage.put_checkpoint("agent", 3) == 2


SLEEP = {"PostgreSQL": "SELECT pg_sleep(0.3)", "MariaDB": "SELECT sleep(0.3)"}


def test_operation_of_many_slow_statements(sql_server: SQLServer) -> None:
    """The timeout is an operation's, however many statements that takes (rule 8)."""

    def dawdle(connection: Connection) -> None:
        for _ in range(10):
            connection.execute(text(SLEEP[sql_server.name]))

    with SQLStorage.from_url(sql_server.url, timeout=1.0) as storage:
        with _seconds(2.0), pytest.raises(StorageUnavailableError):
            storage._database.read(dawdle)  # pyright: ignore[reportPrivateUsage] - none is slow
        assert storage.get_checkpoint("agent") is None


def test_exhausted_pool(sql_server: SQLServer) -> None:
    """Who gets no connection in time is told so (rule 8)."""
    with (
        open_storage(sql_server.url, timeout=0.5, pool_size=1) as storage,
        ExitStack() as taken,
    ):
        assert isinstance(storage, SQLStorage)
        taken.enter_context(storage.engine.connect())

        with _seconds(3.0), pytest.raises(StorageUnavailableError, match="the pool was in use"):
            storage.get_checkpoint("agent")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_read_only_database(url: str) -> None:
    """It may be a server that is about to lead: told as such, and retried by whoever waits."""
    options = {"options": "-c default_transaction_read_only=on"}
    with open_storage(url, connect_args=options) as storage:
        assert storage.get_checkpoint("agent") is None
        with pytest.raises(StorageUnavailableError, match="only be read"):
            storage.commit([put("agent", 1)])


def test_read_only_file(sqlalchemy_sqlite_url: str) -> None:
    """So is a SQLite file on a disk that can't be written."""
    with open_storage(sqlalchemy_sqlite_url) as storage:
        assert isinstance(storage, SQLStorage)

        def forbid(connection: Any, *_: object) -> None:
            connection.execute("PRAGMA query_only = 1")

        event.listen(storage.engine, "checkout", forbid)
        with pytest.raises(StorageUnavailableError, match="only be read"):
            storage.commit([put("agent", 1)])


def test_locked_file(sqlalchemy_sqlite_url: str, sqlite_path: Path) -> None:
    """The lock of another program's write ends the wait (rule 8)."""
    with open_storage(sqlalchemy_sqlite_url, timeout=0.2) as storage:
        with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with _seconds(3.0), pytest.raises(StorageUnavailableError, match="took too long"):
                storage.commit([put("agent", 1)])
        assert storage.put_checkpoint("agent", 1) == 1


def test_connection_that_died_while_idle(sql_server: SQLServer) -> None:
    """Whoever comes next does not notice that the server hung up (rule 8)."""
    with SQLStorage.from_url(sql_server.url) as storage:
        storage.engine.dispose()
        connections = number_connections(storage)
        storage.put_checkpoint("agent", 1)

        works: list[Callable[[], object]] = [
            lambda: storage.get_checkpoint("agent"),
            lambda: storage.commit([put("agent", 2)]),
        ]
        for work in works:
            sql_server.hang_up(connections)
            assert work()
        assert len(connections) == 3
        assert checkpoint(storage, "agent").rev == 2


class _Wire:
    """A connection to a server that can be cut through, without either side being told."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.flows = threading.Event()
        self.flows.set()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self.flows.wait(PATIENCE)
                target.sendall(data)
        except OSError:
            pass
        _hang_up(target)

    def close(self) -> None:
        """Close everything."""
        self.flows.set()
        for each in (self._listener, *self._sockets):
            _hang_up(each)


def _hang_up(end: socket.socket) -> None:
    # A mere close leaves the connection open, and its transaction, while a thread reads from it.
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def test_server_that_stops_answering(sql_server: SQLServer) -> None:
    """A server that vanishes in the middle costs the timeout; then it goes on (rule 8)."""
    url = sql_server.admin.url
    assert url.host is not None
    assert url.port is not None
    with closing(_Wire(url.host, url.port)) as wire:
        near = url.set(host="127.0.0.1", port=wire.port)
        with SQLStorage(near, schema=sql_server.schema, timeout=1.0) as storage:
            storage.put_checkpoint("agent", 1)

            wire.flows.clear()
            works: list[Callable[[], object]] = [
                lambda: storage.get_checkpoint("agent"),
                lambda: storage.commit([put("agent", 2)]),
            ]
            for work in works:
                with _seconds(4.0), pytest.raises(StorageUnavailableError):
                    work()
            wire.flows.set()

            assert checkpoint(storage, "agent").rev == 1


# -- the table of errors --------------------------------------------------------------------------


def _postgresql(name: str, message: str = "message") -> Exception:
    error: Exception = getattr(psycopg.errors, name)(message)
    return error


def _sqlite(name: str) -> Exception:
    error = sqlite3.OperationalError("message")
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_postgresql("DeadlockDetected"), RaceLostError),
        (_postgresql("SerializationFailure"), RaceLostError),
        (_postgresql("UniqueViolation"), RaceLostError),
        (_postgresql("DiskFull"), StorageFullError),
        (_postgresql("TooManyConnections"), StorageUnavailableError),
        (_postgresql("AdminShutdown"), StorageUnavailableError),
        (_postgresql("CannotConnectNow"), StorageUnavailableError),
        (_postgresql("QueryCanceled"), StorageUnavailableError),
        (_postgresql("StatementTooComplex"), UnstorableError),
        (_postgresql("InvalidTextRepresentation"), UnstorableError),
        (_postgresql("InvalidPassword"), ConfigurationError),
        (_postgresql("OperationalError", 'FATAL: password authentication failed for user "a"'),
         ConfigurationError),
        (_postgresql("UndefinedTable"), ConfigurationError),
        (_postgresql("InsufficientPrivilege"), ConfigurationError),
        (_postgresql("InternalError_"), StorageError),
        (pymysql.OperationalError(1213, "Deadlock found"), RaceLostError),
        (pymysql.IntegrityError(1062, "Duplicate entry"), RaceLostError),
        (pymysql.OperationalError(1114, "The table is full"), StorageFullError),
        (pymysql.OperationalError(1040, "Too many connections"), StorageUnavailableError),
        (pymysql.OperationalError(1205, "Lock wait timeout"), StorageUnavailableError),
        (pymysql.OperationalError(1290, "--read-only"), StorageUnavailableError),
        (pymysql.OperationalError(1153, "packet"), UnstorableError),
        (pymysql.DataError(1406, "Data too long"), UnstorableError),
        (pymysql.OperationalError(1045, "Access denied"), ConfigurationError),
        (pymysql.ProgrammingError(1146, "no such table"), ConfigurationError),
        (pymysql.err.InternalError(815, "?"), StorageError),
        (_sqlite("SQLITE_FULL"), StorageFullError),
        (_sqlite("SQLITE_BUSY"), StorageUnavailableError),
        (_sqlite("SQLITE_CORRUPT"), StorageError),
        (sqlite3.OperationalError("no such table: checkpoints"), ConfigurationError),
        (sqlite3.DataError("string or blob too big"), UnstorableError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else repr(value),
)  # fmt: skip
def test_error_of_a_driver(error: Exception, expected: type[Exception]) -> None:
    """Each kind of failure has one error; statements and values are not told (rule 8)."""
    base = {psycopg: psycopg.Error, pymysql: pymysql.Error, sqlite3: sqlite3.Error}
    module = sys.modules[type(error).__module__.partition(".")[0]]
    wrapped = exc.DBAPIError.instance("SELECT 'secret'", ("secret",), error, base[module])
    assert isinstance(wrapped, exc.SQLAlchemyError)

    found = translate(wrapped, "here", opening=True)

    assert type(found) is expected
    assert str(found).startswith("here: ")
    assert "secret" not in str(found)
    if expected is ConfigurationError:
        assert type(translate(wrapped, "here")) is StorageError


def test_error_of_no_driver() -> None:
    """What SQLAlchemy itself refuses is a storage error too."""
    assert type(translate(exc.InvalidRequestError("no"), "here")) is StorageError
