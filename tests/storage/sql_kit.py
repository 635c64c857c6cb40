"""The servers of the tests of SQL storage, and a schema of its own for each test process."""

# ruff: noqa: S608 - names and statements are these tests' own

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from sqlalchemy import JSON, Text, and_, cast, event, exc, func, text, update
from sqlalchemy.pool import NullPool

from torpor.storage import open_storage
from torpor.storage.records import Space
from torpor.storage.sql import SQLStorage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Column, ColumnElement

    from torpor.storage import Storage
    from torpor.storage.sql.schema import Tables

__all__ = [
    "MARIADB",
    "POSTGRESQL",
    "SERVERS",
    "Server",
    "damage_entry",
    "damage_record",
    "number_connections",
]

TABLES = ("torpor_checkpoints", "torpor_threads", "torpor_entries")


class Server:
    """One server. Nothing of what it holds is touched but a schema with an unheard-of name."""

    def __init__(self, name: str, variable: str, default: str, driver: str) -> None:
        self.name = name
        self.variable = variable
        self.address = os.environ.get(variable, default)
        scheme, _, rest = self.address.partition("://")
        self.admin = sqlalchemy.create_engine(f"{scheme}+{driver}://{rest}", poolclass=NullPool)
        self.schema = f"torpor_test_{secrets.token_hex(6)}"
        self.url = f"{self.address}{'&' if '?' in rest else '?'}schema={self.schema}"
        self._used = False

    def require(self) -> None:
        """Skip the test if nobody listens; in CI that is a failure."""
        try:
            self.admin.connect().close()
        except exc.OperationalError as error:
            pytest.skip(f"no {self.name}; {self.variable} may name another address: {error.orig}")

    def empty(self) -> str:
        """Return the URL of an empty store."""
        try:
            self.run(*(f"DELETE FROM {self.schema}.{table}" for table in TABLES))
        except exc.SQLAlchemyError:
            self.drop()
            self._used = True
            open_storage(self.url).close()
        return self.url

    def run(self, *statements: str, **parameters: Any) -> None:
        """Carry out statements behind the storage's back."""
        with self.admin.begin() as connection:
            for statement in statements:
                connection.execute(text(statement), parameters)

    def count(self, query: str) -> int:
        """Return the one number that ``query`` finds."""
        with self.admin.connect() as connection:
            return int(connection.execute(text(query)).scalar_one())

    def hang_up(self, connections: Iterable[int]) -> None:
        """Let the server close these connections, by the numbers that it gave them."""
        kill = "SELECT pg_terminate_backend({})" if self.name == "PostgreSQL" else "KILL {}"
        for number in connections:
            with suppress(exc.OperationalError):  # it may have ended by itself
                self.run(kill.format(number))

    def drop_tables(self) -> None:
        """Remove what holds the records."""
        self.run(*(f"DROP TABLE {self.schema}.{table}" for table in TABLES))

    def drop(self) -> None:
        """Remove the schema."""
        if self._used:
            cascade = "CASCADE" if self.name == "PostgreSQL" else ""
            self.run(f"DROP SCHEMA IF EXISTS {self.schema} {cascade}")


POSTGRESQL = Server(
    "PostgreSQL",
    "TORPOR_TEST_POSTGRESQL",
    "postgresql://postgres@127.0.0.1:5432/test",
    "psycopg",
)
MARIADB = Server("MariaDB", "TORPOR_TEST_MARIADB", "mysql://root@127.0.0.1:3306/test", "pymysql")
SERVERS = {"postgresql": POSTGRESQL, "mariadb": MARIADB}


def number_connections(storage: SQLStorage) -> list[int]:
    """Return a list that will hold the server's numbers of all connections made from now on."""
    numbers: list[int] = []

    def note(connection: Any, _record: object) -> None:
        is_psycopg = hasattr(connection, "info")
        numbers.append(connection.info.backend_pid if is_psycopg else connection.thread_id())

    event.listen(storage.engine, "connect", note)
    return numbers


def damage_record(storage: Storage, space: Space, key: str) -> None:
    """Add a space to a checkpoint's data or a digit to a thread's revision."""
    column, old, new = {
        Space.CHECKPOINTS: ("data", '"', '" '),
        Space.THREADS: ("thread", ":1", ":11"),
    }[space]
    table = _tables(storage).records[space]
    _replace(storage, table.c[column], old, new, table.c.key == key)


def damage_entry(storage: Storage, thread_id: str, seq: int) -> None:
    """Change a letter of the document."""
    entries = _tables(storage).entries
    place = and_(entries.c.thread_id == thread_id, entries.c.seq == seq)
    _replace(storage, entries.c.document, "entry", "Entry", place)


def _tables(storage: Storage) -> Tables:
    assert isinstance(storage, SQLStorage)
    return storage._statements._tables  # pyright: ignore[reportPrivateUsage] - what no user needs


def _replace(
    storage: Storage, column: Column[Any], old: str, new: str, where: ColumnElement[bool]
) -> None:
    assert isinstance(storage, SQLStorage)
    changed: ColumnElement[Any] = func.replace(column, old, new)
    if storage.engine.dialect.name == "postgresql":
        changed = cast(func.replace(cast(column, Text), old, new), JSON)
    statement = update(column.table).where(where).values({column.name: changed})
    with storage.engine.begin() as connection:
        assert connection.execute(statement).rowcount == 1
