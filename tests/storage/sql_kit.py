"""What the tests of SQL storage share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Text, and_, cast, delete, event, func, text, update

from tests.storage.sqlite_kit import count_instructions
from torpor.storage.records import Space
from torpor.storage.sql import SQLStorage
from torpor.storage.testing.counting import sends

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Column, ColumnElement, Table

    from torpor.storage import Storage
    from torpor.storage.sql.schema import Tables

__all__ = [
    "count_rows",
    "count_statements",
    "damage_entry",
    "damage_record",
    "number_connections",
    "remove_entry",
    "remove_record",
]


def number_connections(storage: SQLStorage) -> list[int]:
    """Return a list that will hold the server's numbers of all connections made from now on."""
    numbers: list[int] = []

    def note(connection: Any, _record: object) -> None:
        is_psycopg = hasattr(connection, "info")
        numbers.append(connection.info.backend_pid if is_psycopg else connection.thread_id())

    event.listen(storage.engine, "connect", note)
    return numbers


def count_statements(storage: Storage, work: Callable[[], object]) -> int:
    """Return how many statements the server is sent."""
    assert isinstance(storage, SQLStorage)
    if storage.engine.driver == "pymysql":  # which makes one statement of many on its own
        return sends(work)
    return len(sent_by(storage, work))


def sent_by(storage: Storage, work: Callable[[], object]) -> list[str]:
    """Return the statements that ``work`` has SQLAlchemy send."""
    assert isinstance(storage, SQLStorage)
    sent: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(storage.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(storage.engine, "before_cursor_execute", note)
    return sent


def count_rows(storage: Storage, work: Callable[[], object]) -> int:
    """Return how many rows the database looks at, by what it says itself.

    It says that for one session, or late: the storage must have no other connection, as is so
    when one thread uses it.
    """
    assert isinstance(storage, SQLStorage)
    dialect = storage.engine.dialect.name
    if dialect == "sqlite":
        with storage.engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
        return count_instructions(raw, work)

    def rows() -> int:
        with storage.engine.begin() as connection:
            if dialect == "postgresql":
                connection.execute(text("SELECT pg_stat_force_next_flush()"))
        query = text(ROWS_READ[dialect].format(schema=_tables(storage).entries.schema))
        with storage.engine.connect() as connection:
            return sum(int(row[-1] or 0) for row in connection.execute(query))

    before = rows()
    work()
    return rows() - before


ROWS_READ = {
    "postgresql": "SELECT seq_tup_read FROM pg_stat_user_tables WHERE schemaname = '{schema}'"
    " UNION ALL SELECT idx_tup_read FROM pg_stat_user_indexes WHERE schemaname = '{schema}'",
    "mysql": "SHOW SESSION STATUS LIKE 'Handler_read%'",
    "mariadb": "SHOW SESSION STATUS LIKE 'Handler_read%'",
}


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


def remove_record(storage: Storage, space: Space, key: str) -> None:
    """Take the row of a record away, and nothing that belongs to it."""
    table = _tables(storage).records[space]
    _remove(storage, table, table.c.key == key)


def remove_entry(storage: Storage, thread_id: str, seq: int) -> None:
    """Take the row of an entry away."""
    entries = _tables(storage).entries
    _remove(storage, entries, and_(entries.c.thread_id == thread_id, entries.c.seq == seq))


def _tables(storage: Storage) -> Tables:
    assert isinstance(storage, SQLStorage)
    return storage._statements._tables  # pyright: ignore[reportPrivateUsage] - what no user needs


def _remove(storage: Storage, table: Table, where: ColumnElement[bool]) -> None:
    assert isinstance(storage, SQLStorage)
    with storage.engine.begin() as connection:
        assert connection.execute(delete(table).where(where)).rowcount == 1


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
