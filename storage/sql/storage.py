"""Checkpoints and threads in a SQL database, by SQLAlchemy: PostgreSQL, MySQL, MariaDB, others."""

from __future__ import annotations

import re
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sqlalchemy import URL, Engine, exc, make_url

from torpor.storage import codec
from torpor.storage.base import Storage
from torpor.storage.errors import ConfigurationError, CorruptRecordError, StorageError
from torpor.storage.paging import read_in_pages
from torpor.storage.plan import plan_unread
from torpor.storage.records import Due, Entry, Record, Rejected, Saved, Space
from torpor.storage.rows import record_of_row
from torpor.storage.sql.commit import apply_changes, row_of
from torpor.storage.sql.drivers import make_engine
from torpor.storage.sql.engine import Database
from torpor.storage.sql.errors import UnstorableError
from torpor.storage.sql.mysql import MySQLStatements
from torpor.storage.sql.notify import PostgreSQLNotifier, channel_of
from torpor.storage.sql.postgresql import PsycopgStatements
from torpor.storage.sql.provision import file_of, open_file, open_tables
from torpor.storage.sql.schema import default_prefix, make_tables
from torpor.storage.sql.statements import SQLiteStatements, Statements

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from torpor.storage.records import Change, Outcome
    from torpor.storage.sql.schema import Tables

__all__ = ["SQLStorage"]

_ENCODING_ERRORS = (TypeError, ValueError, OverflowError, RecursionError)
_SWITCH = {"true": True, "1": True, "false": False, "0": False}
_URL_OPTIONS: dict[str, Callable[[str], Any]] = {
    "schema": str,
    "table_prefix": str,
    "timeout": float,
    "pool_size": int,
    "create": lambda value: _SWITCH[value.lower()],
    "echo": lambda value: _SWITCH[value.lower()],
}


class SQLStorage(Storage):
    """Everything in four tables of a SQL database.

    ``database`` is a URL (``postgresql://user@host/database``, ``mysql://…``, ``mariadb://…``,
    any other of SQLAlchemy's) or an ``Engine`` of your own, which stays yours,
    its pool and its time limits too; only the transactions of this storage are made READ
    COMMITTED. ``engine`` is the one in use; listen to its events for telemetry.

    ``schema``: where the tables are; the connection's default if None. ``table_prefix``: what
    their names begin with, ``"torpor_"`` by default; on SQLite nothing, and the tables are those
    of ``SQLiteStorage``. ``create``: make schema and tables if they are missing, safely while
    other processes do so; else see ``torpor.storage.migrations``.
    How to query what is stored: ``torpor.storage.sql.schema``.

    ``timeout``: seconds that an operation may wait for connection, locks and server (to connect
    at least 2), then ``StorageUnavailableError``. ``pool_size``: most connections at once; who
    finds none waits. ``echo``: log statements, with values. ``connect_args``: the driver's own,
    as for TLS; a query in the URL does the same.

    What is saved is as durable as a transaction of the server: by default, synced to its disk.
    Listings are ordered by key, except on databases whose collation is not binary. Where text
    can't contain NUL (PostgreSQL) a kind or an id with one is refused.
    """

    name: ClassVar[str] = "sql"

    def __init__(  # noqa: PLR0913 - all but the first are keywords
        self,
        database: str | URL | Engine,
        *,
        schema: str | None = None,
        table_prefix: str | None = None,
        create: bool = True,
        timeout: float = 5.0,
        pool_size: int = 10,
        echo: bool = False,
        connect_args: Mapping[str, Any] | None = None,
    ) -> None:
        """Connect, see that the tables are there and can be used, or create them.

        Raises ``ConfigurationError`` for what can't work: wrong password, no such database,
        missing or foreign tables; ``MissingDriverError``; ``SchemaVersionError`` for tables of a
        newer version; ``StorageUnavailableError`` if nobody answers within ``timeout``.
        """
        super().__init__()
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            msg = f"timeout is a number of seconds above 0, not {timeout}"
            raise ConfigurationError(msg)
        if pool_size < 1:
            msg = f"pool_size is at least 1, not {pool_size}"
            raise ConfigurationError(msg)
        if not re.fullmatch(r"\w{0,40}", table_prefix or "", re.ASCII):
            msg = f"table_prefix has up to 40 letters, digits and _, not {table_prefix!r}"
            raise ConfigurationError(msg)
        self.timeout = timeout
        engine = (
            database
            if isinstance(database, Engine)
            else make_engine(
                _parsed(database),
                timeout=timeout,
                pool_size=pool_size,
                echo=echo,
                connect_args=connect_args or {},
            )
        )
        self._database = Database(
            engine, place=_place(engine.url), timeout=timeout, owned=engine is not database
        )
        dialect = engine.dialect.name
        if dialect == "sqlite" and schema is not None:
            msg = "SQLite has no schemas: choose another file, or a table_prefix"
            raise ConfigurationError(msg)
        prefix = default_prefix(dialect) if table_prefix is None else table_prefix
        tables = make_tables(dialect, schema=schema, prefix=prefix)
        self._entries = tables.entries
        self._statements = _statements(engine, tables)
        try:
            if dialect == "sqlite" and not prefix:
                self._open_file(create=create)
            else:
                self._open_tables(tables, create=create)
            self._database.read(self._statements.inspect)
        except BaseException:
            self._close()
            raise
        self.max_document_bytes = self._statements.max_document_bytes
        self._database.opening = False

    def _open_file(self, *, create: bool) -> None:
        # Not by a connection, if that is avoidable: it would make what it does not find.
        file = self.engine.url.database or self._database.read(file_of)
        open_file(file, create=create, timeout=self.timeout)

    def _open_tables(self, tables: Tables, *, create: bool) -> None:
        self._database.write(
            partial(
                open_tables,
                tables=tables,
                place=self._database.place,
                create=create,
                timeout=self.timeout,
            )
        )

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open ``url``. Options may stand in its query, what is there beside is the driver's.

        ``sqlite+sqlalchemy:///path`` is SQLite by way of SQLAlchemy. ``options`` win.
        """
        scheme, colon, rest = url.partition(":")
        parsed = _parsed(scheme.lower().removesuffix("+sqlalchemy") + colon + rest)
        in_url = {name: parsed.query[name] for name in _URL_OPTIONS if name in parsed.query}
        try:
            given = {name: _URL_OPTIONS[name](str(value)) for name, value in in_url.items()}
        except (ValueError, KeyError) as error:
            msg = f"{_place(parsed)}: an option in the URL has no such value: {error}"
            raise ConfigurationError(msg) from error
        try:
            return cls(parsed.difference_update_query(in_url), **{**given, **options})
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            msg = f"{_place(parsed)}: {error}"
            raise ConfigurationError(msg) from error

    @property
    def engine(self) -> Engine:
        """The engine in use."""
        return self._database.engine

    def __repr__(self) -> str:
        return f"<SQLStorage {self._database.place}>"

    # -- reading ------------------------------------------------------------------------------

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | StorageError | None]:
        rows = self._database.read(
            lambda connection: list(self._statements.read_records(connection, space, keys))
        )
        found = {row[0]: _record(row) for row in rows}
        return [found.get(key) for key in keys]

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        rows = self._database.read(
            lambda connection: list(self._statements.read_documents(connection, places))
        )
        ids = {(thread_id, seq): _entry_id(document) for thread_id, seq, document in rows}
        return [ids.get(place) for place in places]

    def _read_entries(  # noqa: PLR0913 - see Storage
        self,
        thread_id: str,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None,
        limit: int | None,
        newest: bool,
    ) -> Sequence[Entry]:
        def page(start: int, stop: int, count: int) -> list[Entry]:
            rows = self._database.read(
                partial(
                    self._statements.read_entries,
                    thread_id=thread_id,
                    start=start,
                    stop=stop,
                    kinds=kinds,
                    limit=count,
                    newest=newest,
                )
            )
            return [_entry(thread_id, row) for row in rows]

        return read_in_pages(page, start, stop, kinds=kinds, limit=limit, newest=newest)

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        records: list[Record] = []
        last = after or ""
        while len(records) < limit:
            count = limit - len(records)
            rows = self._database.read(
                partial(
                    self._statements.list_records,
                    space=space,
                    prefix=prefix,
                    after=last,
                    limit=count,
                )
            )
            records += (record for row in rows if isinstance(record := _record(row), Record))
            if len(rows) < count:
                break
            last = rows[-1][0]
        return records

    def _list_keys(
        self, space: Space, after: str | None, limit: int, *, tombstones: bool
    ) -> Sequence[str]:
        return self._database.read(
            partial(
                self._statements.list_keys,
                space=space,
                after=after or "",
                limit=limit,
                tombstones=tombstones,
            )
        )

    def _list_thread_ids(self, after: str | None, limit: int) -> Sequence[str]:
        return self._database.read(
            lambda connection: self._statements.list_thread_ids(connection, after or "", limit)
        )

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        rows = self._database.read(
            lambda connection: self._statements.list_due(connection, before, limit)
        )
        return [
            Due(Space(space), key, float(wake_at))
            for space, key, wake_at in rows
            if isinstance(key, str)  # SQLite takes anything for one
        ]

    # -- writing ------------------------------------------------------------------------------

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        saved = self._commit_at_once(changes) if self._statements.replaces_all else None
        return self._commit_by_steps(changes) if saved is None else saved

    def _commit_at_once(self, changes: Sequence[Change]) -> Sequence[Outcome] | None:
        """Return the outcomes if one statement could write all ``changes``, else None."""
        records = plan_unread(changes)
        if records is None or any(record.rev == 1 for record in records):
            return None
        try:
            rows = [row_of(record) for record in records]
            # Cut off, it may have been written; done again it then finds that it has to read.
            written = self._database.read(lambda c: self._statements.replace_all(c, rows))
        except (*_ENCODING_ERRORS, UnstorableError):  # told by steps whose fault it is
            return None
        return [Saved(record.rev) for record in records] if written else None

    def _commit_by_steps(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        def work(connection: Connection) -> list[Outcome]:
            return apply_changes(connection, self._statements, changes)

        try:
            return self._database.write(work)
        except (*_ENCODING_ERRORS, UnstorableError) as error:
            if len(changes) == 1:
                return [Rejected(_refusal(changes[0].key, error))]
        return [outcome for change in changes for outcome in self._commit_by_steps([change])]

    def notifier(self) -> PostgreSQLNotifier | None:
        """Return LISTEN and NOTIFY of PostgreSQL; None on other databases and drivers."""
        if not isinstance(self._statements, PsycopgStatements):
            return None
        return PostgreSQLNotifier(self._database, channel_of(self._entries, self.engine))

    def _vacuum(self, before: float) -> int:
        return self._database.write(
            lambda connection: sum(
                self._statements.vacuum(connection, space, before) for space in Space
            )
        )

    def _close(self) -> None:
        self._database.close()


def _parsed(url: str | URL) -> URL:
    try:
        return make_url(url)
    except (exc.ArgumentError, ValueError):  # whose text may repeat the URL
        msg = "not a URL of a database: write postgresql://user@host:port/database, or mysql://…"
        raise ConfigurationError(msg) from None


def _place(url: URL) -> str:
    return url.set(password=None, query={}).render_as_string()


def _statements(engine: Engine, tables: Tables) -> Statements:
    dialect = engine.dialect
    if dialect.name == "postgresql" and dialect.driver == "psycopg":
        return PsycopgStatements(tables, dialect)
    if dialect.name in {"mysql", "mariadb"}:
        return MySQLStatements(tables)
    return SQLiteStatements(tables) if dialect.name == "sqlite" else Statements(tables)


def _record(row: Sequence[Any]) -> Record | CorruptRecordError:
    try:
        return record_of_row(row)
    except CorruptRecordError as error:
        return error


def _entry(thread_id: str, row: Sequence[Any]) -> Entry:
    seq, checksum, document = row
    try:
        sound = codec.entry_checksum(thread_id, seq, document) == checksum
    except codec.UNDECODABLE:
        sound = False
    if not sound:
        raise CorruptRecordError(thread_id, f"the checksum of entry {seq} does not fit")
    return codec.decode_entry(document, seq, thread_id)


def _entry_id(document: Any) -> str:
    """Return the id in an entry's document; none that any entry has, if it is broken."""
    try:
        return str(codec.decode_entry(document, 0, "").id)
    except CorruptRecordError:
        return ""


def _refusal(key: str, error: Exception) -> StorageError:
    refusal = StorageError(f"{key!r} cannot be stored: {error}")
    refusal.__cause__ = error.__cause__ if isinstance(error, UnstorableError) else error
    return refusal
