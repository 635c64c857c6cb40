"""The statements of the SQL backend in PostgreSQL's own language, for psycopg 3.

A batch is one array for each column, sent in binary form (``%b``) and taken apart by
``unnest``: one text of each statement, so that it stays prepared, and half the cost of text.
"""

# ruff: noqa: S608 - no value is ever put into a statement, only quoted names

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torpor.storage.errors import ConfigurationError
from torpor.storage.records import Space
from torpor.storage.sql.errors import RaceLostError
from torpor.storage.sql.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Dialect

    from torpor.storage.sql.schema import Tables
    from torpor.storage.sql.statements import Row

__all__ = ["PsycopgStatements"]

_RECORD = {
    "key": "text",
    "rev": "bigint",
    "change_id": "text",
    "deleted": "bigint",
    "kind": "text",
    "version": "bigint",
    "wake_at": "double precision",
    "updated_at": "double precision",
    "thread": "text",
    "checksum": "bigint",
    "data": "text",
}
_ENTRY = {
    "thread_id": "text",
    "seq": "bigint",
    "kind": "text",
    "document": "text",
    "checksum": "bigint",
}
_JSON = {"thread", "data", "document"}

_CHARACTERS_AT_ONCE = 64 * 1024 * 1024


class PsycopgStatements(Statements):
    """Few round trips, and statements that the server has parsed and planned already."""

    replaces_all = True

    def __init__(self, tables: Tables, dialect: Dialect) -> None:
        super().__init__(tables)
        name = dialect.identifier_preparer.format_table
        records = {space: name(table) for space, table in tables.records.items()}
        self._entries = name(tables.entries)
        self._read = {space: _read(table) for space, table in records.items()}
        self._lock = {space: _lock(table) for space, table in records.items()}
        self._insert = {space: _insert(table) for space, table in records.items()}
        self._update = {space: _update(table) for space, table in records.items()}
        self._replace = _replace(records[Space.CHECKPOINTS])

    def inspect(self, connection: Connection) -> None:
        """Refuse a database that cannot hold every character."""
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            msg = f"the database has the encoding {encoding}; it must have UTF8"
            raise ConfigurationError(msg)

    def read_records(
        self, connection: Connection, space: Space, keys: Sequence[str]
    ) -> Iterable[Sequence[Any]]:
        """Return the rows of these keys."""
        return connection.exec_driver_sql(self._read[space], {"keys": list(keys)}).all()

    def read_revisions(
        self, connection: Connection, space: Space, keys: Sequence[str]
    ) -> Iterable[Sequence[Any]]:
        """Return them locked."""
        return connection.exec_driver_sql(self._lock[space], {"keys": list(keys)}).all()

    def read_documents(
        self, connection: Connection, places: Sequence[tuple[str, int]]
    ) -> Iterable[Sequence[Any]]:
        """Return the documents at these places."""
        statement = f"""
            SELECT thread_id, seq, document::text
            FROM unnest(%(threads)b::text[], %(seqs)b::bigint[]) AS wanted (thread_id, seq)
            JOIN {self._entries} USING (thread_id, seq)
        """
        threads, seqs = zip(*places, strict=True)
        parameters = {"threads": list(threads), "seqs": list(seqs)}
        return connection.exec_driver_sql(statement, parameters).all()

    def insert_records(self, connection: Connection, space: Space, rows: Sequence[Row]) -> None:
        """Write new rows; ``RaceLostError`` if another transaction wrote one of them first."""
        written = sum(
            connection.exec_driver_sql(self._insert[space], arrays).rowcount
            for arrays in _arrays(_RECORD, rows)
        )
        if written != len(rows):
            msg = f"{len(rows) - written} of {len(rows)} records were first written by another"
            raise RaceLostError(msg)

    def update_records(self, connection: Connection, space: Space, rows: Sequence[Row]) -> None:
        """Replace rows."""
        for arrays in _arrays(_RECORD, rows):
            connection.exec_driver_sql(self._update[space], arrays)

    def replace_all(self, connection: Connection, rows: Sequence[Row]) -> bool:
        """See ``Statements``. Locks the rows in the order of their keys, as every batch does."""
        first, *others = _arrays(_RECORD, sorted(rows))
        if others:
            return False
        return connection.exec_driver_sql(self._replace, first).rowcount == len(rows)

    def write_entries(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Write entries, in place of stray ones."""
        replaced = ", ".join(f"{name} = excluded.{name}" for name in list(_ENTRY)[2:])
        statement = f"""
            INSERT INTO {self._entries} ({", ".join(_ENTRY)}) SELECT {_values(_ENTRY)}
            ON CONFLICT (thread_id, seq) DO UPDATE SET {replaced}
        """
        for arrays in _arrays(_ENTRY, rows):
            connection.exec_driver_sql(statement, arrays)

    def delete_entries(self, connection: Connection, ends: Sequence[tuple[str, int]]) -> None:
        """Remove entries before a ``seq`` each."""
        statement = f"""
            DELETE FROM {self._entries} AS stored
            USING unnest(%(threads)b::text[], %(ends)b::bigint[]) AS doomed (thread_id, ending)
            WHERE stored.thread_id = doomed.thread_id AND stored.seq < doomed.ending
        """
        threads, seqs = zip(*ends, strict=True)
        connection.exec_driver_sql(statement, {"threads": list(threads), "ends": list(seqs)})


def _read(table: str) -> str:
    columns = ", ".join(f"{name}::text" if name in _JSON else name for name in _RECORD)
    return f"SELECT {columns} FROM {table} WHERE key = ANY(%(keys)b)"


def _lock(table: str) -> str:
    *columns, _ = (f"{name}::text" if name in _JSON else name for name in _RECORD)
    return f"""
        SELECT {", ".join(columns)}, CASE WHEN thread IS NOT NULL THEN data::text END
        FROM {table} WHERE key = ANY(%(keys)b) ORDER BY key FOR UPDATE
    """


def _insert(table: str) -> str:
    return f"""
        INSERT INTO {table} ({", ".join(_RECORD)}) SELECT {_values(_RECORD)}
        ON CONFLICT (key) DO NOTHING
    """


def _update(table: str) -> str:
    replaced = ", ".join(
        f"{name} = new.{name}::json" if name in _JSON else f"{name} = new.{name}"
        for name in list(_RECORD)[1:]
    )
    return f"""
        UPDATE {table} AS stored SET {replaced}
        FROM {_unnest(_RECORD)} WHERE stored.key = new.key
    """


def _replace(table: str) -> str:
    replaced = ", ".join(
        f"{name} = new.{name}::json" if name in _JSON else f"{name} = new.{name}"
        for name in _RECORD
        if name not in {"key", "deleted", "thread"}
    )
    # What is locked is read as it is now, after any wait, so the count tells.
    return f"""
        WITH new AS (SELECT * FROM {_unnest(_RECORD)}),
        locked AS (
            SELECT key, rev, deleted, thread IS NULL AS bare FROM {table}
            WHERE key = ANY(%(key)b::text[]) ORDER BY key FOR UPDATE
        ),
        fitting AS (
            SELECT count(*) AS number FROM locked JOIN new USING (key)
            WHERE locked.rev = new.rev - 1 AND locked.deleted = 0 AND bare
        )
        UPDATE {table} AS stored SET {replaced}
        FROM new
        WHERE stored.key = new.key AND stored.rev = new.rev - 1
        AND (SELECT number FROM fitting) = (SELECT count(*) FROM new)
    """


def _values(columns: dict[str, str]) -> str:
    fields = (f"new.{name}::json" if name in _JSON else f"new.{name}" for name in columns)
    return f"{', '.join(fields)} FROM {_unnest(columns)}"


def _unnest(columns: dict[str, str]) -> str:
    arrays = ", ".join(f"%({name})b::{kind}[]" for name, kind in columns.items())
    return f"unnest({arrays}) AS new ({', '.join(columns)})"


def _arrays(columns: dict[str, str], rows: Sequence[Row]) -> Iterator[dict[str, list[Any]]]:
    """Yield the rows as arrays of one statement each, which has to be smaller than 1 GB."""
    begin = size = 0
    for end, row in enumerate(rows, start=1):
        size += sum(len(value) for value in row if isinstance(value, str))
        if size > _CHARACTERS_AT_ONCE or end == len(rows):
            values = zip(*rows[begin:end], strict=True)
            yield {name: list(array) for name, array in zip(columns, values, strict=True)}
            begin, size = end, 0
