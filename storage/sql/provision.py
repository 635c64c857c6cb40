"""Make the tables of the SQL backend, or tell why they can't be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, inspect, select
from sqlalchemy.schema import CreateSchema

from torpor.storage.errors import (
    ConfigurationError,
    SchemaVersionError,
    StorageUnavailableError,
)
from torpor.storage.sql.schema import SCHEMA_VERSION
from torpor.storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from torpor.storage.sql.schema import Tables

__all__ = ["file_of", "open_file", "open_tables"]

_LOCK = "torpor: creating tables"
_OF_LOCK = 0.4  # of an operation's time, which has to do for the creation too
_LOCK_NUMBER = 0x746F72706F72  # "torpor"


def file_of(connection: Connection) -> str:
    """Return the path of the SQLite file behind ``connection``, "" if it is in memory."""
    return str(connection.exec_driver_sql("PRAGMA database_list").all()[0][2])


def open_file(file: str | None, *, create: bool, timeout: float) -> None:
    """See that a SQLite file is one of ``SQLiteStorage``'s, or make it.

    Raises ``ConfigurationError`` or ``SchemaVersionError`` as that class does.
    """
    if not file:
        msg = "a SQLite database in memory needs a table_prefix; or use MemoryStorage, 'memory:'"
        raise ConfigurationError(msg)
    path = Path(file)
    if not create and not (path.exists() and path.stat().st_size):
        raise ConfigurationError(_missing(file))
    SQLiteStorage(path, busy_timeout=timeout).close()


def open_tables(
    connection: Connection, tables: Tables, *, place: str, create: bool, timeout: float
) -> None:
    """See that the tables are there, or create them, whoever else does at the same time.

    Raises ``ConfigurationError`` if they are missing or other tables have their names,
    ``SchemaVersionError`` if a newer version made them.
    """
    if _are_there(connection, tables, place):
        return
    if not create:
        raise ConfigurationError(_missing(place))
    named_lock = connection.dialect.name in {"mysql", "mariadb"}
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK_NUMBER)))
    if (
        named_lock
        and not connection.execute(select(func.get_lock(_LOCK, timeout * _OF_LOCK))).scalar()
    ):
        msg = f"{place}: another process is creating the tables"
        raise StorageUnavailableError(msg)
    try:
        if not _are_there(connection, tables, place):
            _create(connection, tables)
    finally:
        if named_lock:
            connection.exec_driver_sql("COMMIT")  # before anybody else looks
            connection.execute(select(func.release_lock(_LOCK)))


def _missing(place: str) -> str:
    return (
        f"{place} has no tables of Torpor: create them by a migration "
        "(torpor.storage.migrations), or let create=True do it"
    )


def _are_there(connection: Connection, tables: Tables, place: str) -> bool:
    inspector = inspect(connection)
    schema = tables.metadata.schema
    if not inspector.has_table(tables.version.name, schema):
        others = set(tables.metadata.tables.values()) - {tables.version}
        foreign = [table.name for table in others if inspector.has_table(table.name, schema)]
        if foreign:
            msg = (
                f"{place} has tables of another program: {', '.join(sorted(foreign))}; "
                "choose another schema or table_prefix"
            )
            raise ConfigurationError(msg)
        return False
    found = connection.execute(select(func.max(tables.version.c.version))).scalar()
    if found is None:  # where a CREATE can't be rolled back, whoever created them was interrupted
        return False
    if found > SCHEMA_VERSION:
        raise SchemaVersionError(place, found=found, supported=SCHEMA_VERSION)
    return True


def _create(connection: Connection, tables: Tables) -> None:
    schema = tables.metadata.schema
    if schema is not None and not inspect(connection).has_schema(schema):
        connection.execute(CreateSchema(schema, if_not_exists=True))
    tables.version.create(connection, checkfirst=True)
    for table in tables.metadata.sorted_tables:
        table.create(connection, checkfirst=True)
        for index in table.indexes:
            index.create(connection, checkfirst=True)
    connection.execute(tables.version.insert().values(version=SCHEMA_VERSION))
