"""The statements of the SQL backend, in what every database that SQLAlchemy speaks understands.

Rows are those of ``torpor.storage.rows``. What a database does better in its own
language stands in ``postgresql`` and ``mysql`` beside this.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    Select,
    and_,
    bindparam,
    case,
    delete,
    false,
    literal,
    or_,
    select,
    tuple_,
    union_all,
    update,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Table

    from torpor.storage.records import Space
    from torpor.storage.sql.schema import Tables

__all__ = ["Row", "Statements"]

T = TypeVar("T")
Row = tuple[Any, ...]

_AT_ONCE = 500  # parameters of one list; SQLite takes 32,766 in all, others fewer
_CONDITIONS_AT_ONCE = 50
_AFTER_ALL = "\U0010ffff" * 150  # behind a prefix: not before any key that begins with it


class Statements:
    """The statements of one store. Each method runs one or few of them on a connection."""

    max_document_bytes: int | None = None
    replaces_all = False

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def inspect(self, connection: Connection) -> None:
        """Learn the limits of the database, or raise ``ConfigurationError`` if it can't be used."""

    def begin(self, connection: Connection) -> None:
        """Make sure that nobody else writes what this transaction reads for update."""

    def replace_all(self, connection: Connection, rows: Sequence[Row]) -> bool:
        """Replace checkpoints without a thread that stand at the revision before, all or none.

        In one statement, which is committed by itself; False, and nothing written, if one of
        them is another one. To be called only if ``replaces_all``.
        """
        raise NotImplementedError

    # -- reading ------------------------------------------------------------------------------

    def read_records(
        self, connection: Connection, space: Space, keys: Sequence[str]
    ) -> Iterable[Sequence[Any]]:
        """Return the rows of these keys, in any order."""
        statement = _by_keys(select(self._tables.records[space]))
        for some in _chunks(keys, _AT_ONCE):
            yield from connection.execute(statement, {"keys": some})

    def read_revisions(
        self, connection: Connection, space: Space, keys: Sequence[str]
    ) -> Iterable[Sequence[Any]]:
        """The same, locked in the order of keys; without data if there is no thread.

        The head of a thread goes on from what is stored, so it has to be sound, which takes
        the data too to tell; a record without a thread is replaced whole.
        """
        table = self._tables.records[space]
        *columns, data = table.c
        data_of_owner = case((table.c.thread.is_not(None), data))
        statement = _by_keys(select(*columns, data_of_owner)).order_by(table.c.key)
        for some in _chunks(keys, _AT_ONCE):
            yield from connection.execute(statement.with_for_update(), {"keys": some})

    def read_documents(
        self, connection: Connection, places: Sequence[tuple[str, int]]
    ) -> Iterable[Sequence[Any]]:
        """Return (thread id, seq, document) of the entries at these places, in any order."""
        entries = self._tables.entries.c
        place = tuple_(entries.thread_id, entries.seq)
        statement = select(entries.thread_id, entries.seq, entries.document).where(
            place.in_(bindparam("places", expanding=True))
        )
        for some in _chunks(places, _AT_ONCE):
            yield from connection.execute(statement, {"places": some})

    def read_entries(  # noqa: PLR0913 - see Storage
        self,
        connection: Connection,
        thread_id: str,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None,
        limit: int,
        newest: bool,
    ) -> Sequence[Sequence[Any]]:
        """Return (seq, checksum, document) of the first entries; with ``newest`` backwards."""
        entries = self._tables.entries.c
        statement = select(entries.seq, entries.checksum, entries.document).where(
            entries.thread_id == thread_id, entries.seq >= start, entries.seq < stop
        )
        if kinds is not None:
            statement = statement.where(entries.kind.in_(list(kinds)))
        order = entries.seq.desc() if newest else entries.seq
        return connection.execute(statement.order_by(order).limit(limit)).all()

    def list_records(
        self, connection: Connection, space: Space, prefix: str, after: str, limit: int
    ) -> Sequence[Sequence[Any]]:
        """Return rows of live records whose key has ``prefix`` and is greater than ``after``."""
        table = self._tables.records[space]
        statement = (
            select(table)
            .where(table.c.key >= prefix, table.c.key > after)
            .where(table.c.key <= prefix + _AFTER_ALL, table.c.deleted == 0)
            .order_by(table.c.key)
            .limit(limit)
        )
        return connection.execute(statement).all()

    def list_keys(
        self, connection: Connection, space: Space, after: str, limit: int, *, tombstones: bool
    ) -> Sequence[str]:
        """Return keys greater than ``after``, also of what cannot be decoded."""
        table = self._tables.records[space]
        statement = select(table.c.key).where(table.c.key > after)
        if not tombstones:
            statement = statement.where(table.c.deleted != 1)
        return connection.execute(statement.order_by(table.c.key).limit(limit)).scalars().all()

    def list_thread_ids(self, connection: Connection, after: str, limit: int) -> Sequence[str]:
        """Return ids of threads with entries, greater than ``after``."""
        thread_id = self._tables.entries.c.thread_id
        statement = select(thread_id).where(thread_id > after).group_by(thread_id)
        return connection.execute(statement.order_by(thread_id).limit(limit)).scalars().all()

    def list_due(
        self, connection: Connection, before: float, limit: int
    ) -> Sequence[Sequence[Any]]:
        """Return (space, key, wake_at) of what is due, earliest first."""
        parts: list[Select[Any]] = []
        for space, table in self._tables.records.items():
            due = (
                select(literal(space.value).label("space"), table.c.key, table.c.wake_at)
                .where(table.c.wake_at <= before)
                .order_by(table.c.wake_at)
                .limit(limit)
                .subquery()
            )
            parts.append(select(due))
        every = union_all(*parts).subquery()
        statement = select(every).order_by(every.c.wake_at).limit(limit)
        return connection.execute(statement).all()

    # -- writing ------------------------------------------------------------------------------

    def insert_records(self, connection: Connection, space: Space, rows: Sequence[Row]) -> None:
        """Write new rows, sorted by key; a ``RaceLostError`` or its like if one is there."""
        table = self._tables.records[space]
        connection.execute(table.insert(), _named(table, rows))

    def update_records(self, connection: Connection, space: Space, rows: Sequence[Row]) -> None:
        """Replace rows that have been read for update."""
        table = self._tables.records[space]
        names = [f"new_{column.name}" for column in table.c]  # others than the columns' own
        key, *columns = table.c
        values: dict[str, Any] = {each.name: bindparam(f"new_{each.name}") for each in columns}
        statement = update(table).where(key == bindparam("new_key")).values(values)
        connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])

    def write_entries(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Write entries, in place of stray ones."""
        table = self._tables.entries
        first = {thread_id: seq for thread_id, seq, *_ in reversed(rows)}
        strays = [
            and_(table.c.thread_id == thread_id, table.c.seq >= seq)
            for thread_id, seq in first.items()
        ]
        self._delete(connection, strays)
        connection.execute(table.insert(), _named(table, rows))

    def delete_entries(self, connection: Connection, ends: Sequence[tuple[str, int]]) -> None:
        """Remove, of each thread, the entries before a ``seq``."""
        table = self._tables.entries
        doomed = [
            and_(table.c.thread_id == thread_id, table.c.seq < end) for thread_id, end in ends
        ]
        self._delete(connection, doomed)

    def _delete(self, connection: Connection, conditions: Sequence[Any]) -> None:
        for some in _chunks(conditions, _CONDITIONS_AT_ONCE):
            connection.execute(delete(self._tables.entries).where(or_(*some)))

    def vacuum(self, connection: Connection, space: Space, before: float) -> int:
        """Remove tombstones; return how many. What holds more than those do is damaged."""
        table = self._tables.records[space]
        dead = table.c.deleted == 1, table.c.data.is_(None), table.c.thread.is_(None)
        return connection.execute(delete(table).where(*dead, table.c.updated_at < before)).rowcount


class SQLiteStatements(Statements):
    """What SQLite needs beyond the rest."""

    def begin(self, connection: Connection) -> None:
        """Take the lock of writers before anything is read; there are no locks of rows."""
        connection.execute(delete(self._tables.entries).where(false()))

    def read_documents(
        self, connection: Connection, places: Sequence[tuple[str, int]]
    ) -> Iterable[Sequence[Any]]:
        """Return the documents at these places: of a list of pairs SQLite uses half an index."""
        entries = self._tables.entries.c
        statement = select(entries.thread_id, entries.seq, entries.document)
        for some in _chunks(places, _CONDITIONS_AT_ONCE):
            wanted = (and_(entries.thread_id == each, entries.seq == seq) for each, seq in some)
            yield from connection.execute(statement.where(or_(*wanted)))


def _by_keys(statement: Select[Any]) -> Select[Any]:
    return statement.where(statement.selected_columns.key.in_(bindparam("keys", expanding=True)))


def _named(table: Table, rows: Sequence[Row]) -> list[dict[str, Any]]:
    names = [column.name for column in table.c]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    values = iter(values)
    while some := list(islice(values, size)):
        yield some
