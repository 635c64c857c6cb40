"""What the tests of SQL storage share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Text, and_, cast, event, func, update

from torpor.storage.records import Space
from torpor.storage.sql import SQLStorage

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement

    from torpor.storage import Storage
    from torpor.storage.sql.schema import Tables

__all__ = [
    "damage_entry",
    "damage_record",
    "number_connections",
]


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
