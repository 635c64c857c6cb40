"""The engines that the SQL backend makes itself: drivers, settings, and waits with an end."""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import event

from torpor.storage.errors import MissingDriverError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from sqlalchemy import URL, Engine

__all__ = ["make_engine", "within"]

_EXTRAS = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_SHORTEST_CONNECT = 2  # seconds; psycopg takes no less
# Of an operation's time: what the server may take for a statement, so that it answers in time.
_OF_SERVER = 0.9
# PyMySQL ends a wait, not an operation: after half of its time that begins no other.
_OF_MYSQL_WAIT = 0.5
_MYSQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"
_SQLITE_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "fullfsync = 1")

_operation = threading.local()


@contextmanager
def within(seconds: float) -> Generator[float]:
    """Bound this thread's waits for a server; yield when they end, by the monotonic clock."""
    _operation.deadline = time.monotonic() + seconds
    try:
        yield _operation.deadline
    finally:
        _operation.deadline = math.inf


def make_engine(
    url: URL,
    *,
    timeout: float,
    pool_size: int,
    echo: bool,
    connect_args: Mapping[str, Any],
) -> Engine:
    """Return an engine of at most ``pool_size`` connections.

    Raises ``MissingDriverError`` if the driver is not installed.
    """
    backend = url.get_backend_name()
    drivername = _DRIVERS.get(url.drivername, url.drivername)
    prepare = _PREPARE.get(drivername) or _PREPARE.get(backend)
    options, listeners = prepare(timeout) if prepare else ({}, {})
    defaults = {
        name: value
        for name, value in options.get("connect_args", {}).items()
        if name not in url.query
    }
    if backend != "sqlite":
        options |= {
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": timeout,
            "pool_use_lifo": True,  # so that servers may close what is idle
        }
    try:
        engine = sqlalchemy.create_engine(
            url.set(drivername=drivername),
            echo=echo,
            hide_parameters=not echo,
            **{**options, "connect_args": {**defaults, **connect_args}},
        )
        for name, listener in listeners.items():
            event.listen(engine, name, listener)
    except ImportError as error:
        extra = _EXTRAS.get(backend)
        cure = f": pip install 'torpor[{extra}]'" if extra else ""
        msg = f"{backend} storage needs a driver that is not installed, {error.name}{cure}"
        raise MissingDriverError(msg) from error
    return engine


_Prepared = tuple[dict[str, Any], dict[str, "Callable[..., Any]"]]


def _connect_seconds(timeout: float) -> int:
    return max(_SHORTEST_CONNECT, math.ceil(timeout))


# -- PostgreSQL -----------------------------------------------------------------------------------


def _prepare_psycopg(timeout: float) -> _Prepared:
    milliseconds = math.ceil(timeout * _OF_SERVER * 1000)

    def configure(connection: Any, _record: object) -> None:
        # Not as a startup option, which connection poolers refuse.
        connection.autocommit = True
        connection.execute(
            f"SET statement_timeout = {milliseconds};"
            f"SET lock_timeout = {milliseconds};"
            f"SET idle_in_transaction_session_timeout = {milliseconds * 2}"
        )
        connection.autocommit = False

    def connect(_dialect: object, _record: object, arguments: Any, named: Any) -> Any:
        return _bounded_connection_class().connect(*arguments, **named)

    options = {
        "connect_args": {
            "connect_timeout": _connect_seconds(timeout),
            "client_encoding": "utf8",
            "application_name": "torpor",
        },
        "isolation_level": "READ COMMITTED",
    }
    return options, {"connect": configure, "do_connect": connect}


@cache
def _bounded_connection_class() -> Any:
    import psycopg  # noqa: PLC0415 - only where it is used, so that others need not install it

    class BoundedConnection(psycopg.Connection[Any]):
        """A connection that is closed when an operation has waited for its server long enough.

        The driver itself waits for ever for a server that has stopped while it was working.
        """

        def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
            return super().wait(self._bounded(gen), *arguments, **named)

        def _bounded(self, work: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
            try:
                wanted = next(work)
                while True:
                    ready = yield wanted  # false: nothing happened for a tenth of a second
                    if not ready and time.monotonic() > getattr(_operation, "deadline", math.inf):
                        self.pgconn.finish()
                        msg = "the server does not answer"
                        raise psycopg.OperationalError(msg)
                    wanted = work.send(ready)
            except StopIteration as end:
                return end.value

    return BoundedConnection


# -- MySQL and MariaDB ----------------------------------------------------------------------------


def _prepare_pymysql(timeout: float) -> _Prepared:
    wait = timeout * _OF_MYSQL_WAIT
    server = wait * _OF_SERVER

    def configure(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            limits = f"innodb_lock_wait_timeout = {max(1, math.floor(server))}"
            if "MariaDB" in connection.get_server_info():
                limits += f", max_statement_time = {server}"
            cursor.execute(f"SET SESSION sql_mode = '{_MYSQL_MODE}', {limits}")

    def require_time(*_statement: object) -> None:
        if time.monotonic() > getattr(_operation, "deadline", math.inf) - wait:
            msg = f"the operation took longer than the {wait} seconds after which none goes on"
            raise StorageUnavailableError(msg)

    options = {
        "connect_args": {
            "connect_timeout": _connect_seconds(timeout),
            "read_timeout": wait,
            "write_timeout": wait,
            "charset": "utf8mb4",
        },
        "isolation_level": "READ COMMITTED",
    }
    return options, {"connect": configure, "before_cursor_execute": require_time}


# -- SQLite ---------------------------------------------------------------------------------------


def _prepare_sqlite(timeout: float) -> _Prepared:
    def configure(connection: Any, _record: object) -> None:
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()

    return {"connect_args": {"timeout": timeout}}, {"connect": configure}


_PREPARE: dict[str, Callable[[float], _Prepared]] = {
    "postgresql+psycopg": _prepare_psycopg,
    "mysql+pymysql": _prepare_pymysql,
    "mariadb+pymysql": _prepare_pymysql,
    "sqlite": _prepare_sqlite,
}
