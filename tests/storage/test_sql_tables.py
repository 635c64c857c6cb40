"""The tables of SQL storage: who makes them, when, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect

from tests.places.sql import POSTGRESQL, SQLServer
from torpor.storage.errors import (
    ConfigurationError,
    SchemaVersionError,
)
from torpor.storage.sql import SQLStorage
from torpor.storage.testing.kit import PATIENCE, owned, payloads, together

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def new_schema(sql_server: SQLServer) -> Iterator[str]:
    """Return the name of a schema that there is not; it is dropped afterwards."""
    name = f"{sql_server.schema}_more"
    yield name
    cascade = "CASCADE" if sql_server is POSTGRESQL else ""
    sql_server.run(f"DROP SCHEMA IF EXISTS {name} {cascade}")


def test_tables_are_created_once(sql_server: SQLServer, new_schema: str) -> None:
    """Many that open an empty place at once all succeed (rule 13)."""

    def opened() -> int:
        with SQLStorage(sql_server.address, schema=new_schema, timeout=PATIENCE) as storage:
            return storage.append_thread("log", {}).rev

    assert sorted(together(*[opened] * 5)) == [1, 2, 3, 4, 5]
    assert sql_server.count(f"SELECT count(*) FROM {new_schema}.torpor_schema") == 1  # noqa: S608


def test_missing_tables_are_told(sql_server: SQLServer, new_schema: str) -> None:
    """Without ``create`` a place without tables is refused, with what to do."""
    with pytest.raises(ConfigurationError, match=r"torpor\.storage\.migrations"):
        SQLStorage(sql_server.address, schema=new_schema, create=False)


def test_missing_schema_is_not_made_by_reading(sql_server: SQLServer, new_schema: str) -> None:
    """Whoever is refused changes nothing."""
    with pytest.raises(ConfigurationError):
        SQLStorage(sql_server.address, schema=new_schema, create=False)
    assert not inspect(sql_server.admin).has_schema(new_schema)


def test_newer_tables_are_refused(sql_server: SQLServer, new_schema: str) -> None:
    """Tables that a newer version made are left alone."""
    SQLStorage(sql_server.address, schema=new_schema).close()
    sql_server.run(f"UPDATE {new_schema}.torpor_schema SET version = 9")  # noqa: S608

    with pytest.raises(SchemaVersionError) as caught:
        SQLStorage(sql_server.address, schema=new_schema)

    assert (caught.value.found, caught.value.supported) == (9, 1)


def test_interrupted_creation_goes_on(sql_server: SQLServer, new_schema: str) -> None:
    """Who was killed between two tables leaves a place that the next one completes (rule 1)."""
    SQLStorage(sql_server.address, schema=new_schema).close()
    sql_server.run(
        f"DELETE FROM {new_schema}.torpor_schema",  # noqa: S608
        f"DROP TABLE {new_schema}.torpor_threads",
    )

    with SQLStorage(sql_server.address, schema=new_schema) as storage:
        assert storage.append_thread("log", {}).rev == 1
    assert sql_server.count(f"SELECT version FROM {new_schema}.torpor_schema") == 1  # noqa: S608


def test_tables_of_others_are_left_alone(sql_server: SQLServer, new_schema: str) -> None:
    """A table that has one of our names but is not ours is an error, not a place to write."""
    sql_server.run(f"CREATE SCHEMA {new_schema}", f"CREATE TABLE {new_schema}.app_threads (id INT)")

    with pytest.raises(ConfigurationError, match="another program: app_threads"):
        SQLStorage(sql_server.address, schema=new_schema, table_prefix="app_")


def test_prefixes_are_apart(sql_server: SQLServer) -> None:
    """Equal keys under two prefixes know nothing of each other (CP-8)."""
    with (
        SQLStorage(sql_server.address, schema=sql_server.schema) as one,
        SQLStorage(sql_server.address, schema=sql_server.schema, table_prefix="App_2") as other,
    ):
        one.commit([owned("agent", "agent#1", 1, expected_rev=0)])

        assert other.get_checkpoint("agent") is None
        assert other.commit([owned("agent", "agent#1", 2, expected_rev=0)])
        assert payloads(one.load_thread("agent#1")) == [1]
        assert payloads(other.load_thread("agent#1")) == [2]
