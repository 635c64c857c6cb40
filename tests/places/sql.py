"""The SQL servers of the tests, and a schema of its own for each test process."""

# ruff: noqa: S608 - names and statements are these tests' own

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from sqlalchemy import exc, text
from sqlalchemy.pool import NullPool

from tests.places.base import Place
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["MARIADB", "POSTGRESQL", "SQLServer"]

TABLES = ("torpor_checkpoints", "torpor_threads", "torpor_entries")


class SQLServer(Place):
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

    def empty(self, folder: Path | None = None) -> str:  # noqa: ARG002 - it needs none
        """Return the URL of an empty store."""
        try:
            self.admin.connect().close()
        except exc.OperationalError as error:
            pytest.skip(f"no {self.name}; {self.variable} may name another address: {error.orig}")
        try:
            self.run(*(f"DELETE FROM {self.schema}.{table}" for table in TABLES))
        except exc.SQLAlchemyError:
            self.close()
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

    def close(self) -> None:
        """Remove the schema."""
        if self._used:
            cascade = "CASCADE" if self.name == "PostgreSQL" else ""
            self.run(f"DROP SCHEMA IF EXISTS {self.schema} {cascade}")


POSTGRESQL = SQLServer(
    "PostgreSQL",
    "TORPOR_TEST_POSTGRESQL",
    "postgresql://postgres@127.0.0.1:5432/test",
    "psycopg",
)
MARIADB = SQLServer("MariaDB", "TORPOR_TEST_MARIADB", "mysql://root@127.0.0.1:3306/test", "pymysql")
