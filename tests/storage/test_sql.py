"""What is peculiar to SQL storage: whose connections, which tables, how state is stored."""

from __future__ import annotations

import json
import multiprocessing
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, inspect, text

from tests.storage.sql_kit import POSTGRESQL, Server
from torpor.storage import Change, Put, Rejected, Saved, open_storage
from torpor.storage.errors import (
    ConfigurationError,
    RecordTooLargeError,
    SchemaVersionError,
    StorageError,
)
from torpor.storage.memory import MemoryStorage
from torpor.storage.sql import SQLStorage
from torpor.storage.sql.statements import Statements
from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.testing.kit import PATIENCE, checkpoint, owned, payloads, put, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torpor.storage import Storage

AWKWARD = '{ "b" : 1.50,\t"a":"\\u0000\\ud83d\\ude00 \N{GRINNING FACE}", "a": 1e400}'


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest, sql_servers: dict[str, Server]) -> Server:
    """Return each server in turn, with an empty store."""
    server = sql_servers[request.param]
    server.require()
    server.empty()
    return server


@pytest.fixture
def new_schema(server: Server) -> Iterator[str]:
    """Return the name of a schema that there is not; it is dropped afterwards."""
    name = f"{server.schema}_more"
    yield name
    cascade = "CASCADE" if server is POSTGRESQL else ""
    server.run(f"DROP SCHEMA IF EXISTS {name} {cascade}")


def _statements(storage: SQLStorage, work: Callable[[], object]) -> list[str]:
    """Return the statements that ``work`` sends."""
    sent: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(storage.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(storage.engine, "before_cursor_execute", note)
    return sent


# -- whose engine ---------------------------------------------------------------------------------


def test_engine_of_the_user_stays_open(server: Server) -> None:
    """Whoever made the engine closes it, and its own settings are as they were (DESIGN 4)."""
    engine = sqlalchemy.create_engine(server.admin.url, isolation_level="SERIALIZABLE")
    with SQLStorage(engine, schema=server.schema) as storage:
        assert storage.put_checkpoint("agent", 1) == 1
        assert storage.engine is engine

    with engine.connect() as connection:
        assert engine.pool.status()
        assert connection.get_isolation_level() == "SERIALIZABLE"
        assert connection.execute(text("SELECT 1")).scalar() == 1
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]  # of a QueuePool
    engine.dispose()


def test_own_engine_is_closed(server: Server) -> None:
    """What the storage opened it closes, and events of the engine tell of statements."""
    with SQLStorage.from_url(server.url) as storage:
        assert _statements(storage, lambda: storage.get_checkpoint("agent"))
        pool: Any = storage.engine.pool
        assert pool.checkedin() == 1
    assert pool is not storage.engine.pool


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
def test_forked_child(server: Server) -> None:
    """It has connections of its own, and neither process disturbs the other (rule 13)."""
    with open_storage(server.url) as storage:
        storage.put_checkpoint("agent", "parent")

        process = multiprocessing.get_context("fork").Process(
            target=storage.put_checkpoint, args=("agent", "child")
        )
        process.start()
        process.join(PATIENCE)

        assert process.exitcode == 0
        assert checkpoint(storage, "agent").value == "child"


# -- URLs and options -----------------------------------------------------------------------------


def test_options_in_url(server: Server) -> None:
    """Options count in the URL and beside it; what is not an option is the driver's."""
    with open_storage(f"{server.url}&timeout=2&connect_timeout=3", timeout=1.5) as storage:
        assert isinstance(storage, SQLStorage)
        assert storage.timeout == 1.5
        assert storage.engine.url.query == {"connect_timeout": "3"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:secret@127.0.0.1:port/test",
        "postgresql://user:secret@127.0.0.1/test?timeout=soon",
        "postgresql://user:secret@127.0.0.1/test?timeout=0",
        "postgresql://user:secret@127.0.0.1/test?pool_size=0",
        "postgresql://user:secret@127.0.0.1/test?create=perhaps",
        "postgresql://user:secret@127.0.0.1/test?table_prefix=a.b",
        "mysql:user:secret",
        "sqlite+sqlalchemy://",
    ],
)
def test_bad_url_is_told_without_its_secrets(url: str) -> None:
    """What can't be is one clear error."""
    with pytest.raises(ConfigurationError) as caught:
        open_storage(url)

    assert "secret" not in str(caught.value)


def test_unknown_option_is_refused(server: Server) -> None:
    """A misspelt option is not ignored."""
    with pytest.raises(ConfigurationError, match="colour"):
        open_storage(server.url, colour="red")


def test_repr_has_no_secrets(postgresql_url: str) -> None:
    """A storage can be logged: no password, no query, which may hold one too."""
    url = f"{postgresql_url.replace('@', ':secret@')}&passfile=secret"
    with open_storage(url) as storage:
        assert "secret" not in repr(storage)
        assert repr(storage).startswith("<SQLStorage ")
        assert "127.0.0.1" in repr(storage)


# -- tables ---------------------------------------------------------------------------------------


def test_tables_are_created_once(server: Server, new_schema: str) -> None:
    """Many that open an empty place at once all succeed (rule 13)."""

    def opened() -> int:
        with SQLStorage(server.address, schema=new_schema, timeout=PATIENCE) as storage:
            return storage.append_thread("log", {}).rev

    assert sorted(together(*[opened] * 5)) == [1, 2, 3, 4, 5]
    assert server.count(f"SELECT count(*) FROM {new_schema}.torpor_schema") == 1  # noqa: S608


def test_missing_tables_are_told(server: Server, new_schema: str) -> None:
    """Without ``create`` a place without tables is refused, with what to do."""
    with pytest.raises(ConfigurationError, match="torpor.storage.migrations"):
        SQLStorage(server.address, schema=new_schema, create=False)


def test_missing_schema_is_not_made_by_reading(server: Server, new_schema: str) -> None:
    """Whoever is refused changes nothing."""
    with pytest.raises(ConfigurationError):
        SQLStorage(server.address, schema=new_schema, create=False)
    assert not inspect(server.admin).has_schema(new_schema)


def test_newer_tables_are_refused(server: Server, new_schema: str) -> None:
    """Tables that a newer version made are left alone."""
    SQLStorage(server.address, schema=new_schema).close()
    server.run(f"UPDATE {new_schema}.torpor_schema SET version = 9")  # noqa: S608

    with pytest.raises(SchemaVersionError) as caught:
        SQLStorage(server.address, schema=new_schema)

    assert (caught.value.found, caught.value.supported) == (9, 1)


def test_interrupted_creation_goes_on(server: Server, new_schema: str) -> None:
    """Who was killed between two tables leaves a place that the next one completes (rule 1)."""
    SQLStorage(server.address, schema=new_schema).close()
    server.run(
        f"DELETE FROM {new_schema}.torpor_schema",  # noqa: S608
        f"DROP TABLE {new_schema}.torpor_threads",
    )

    with SQLStorage(server.address, schema=new_schema) as storage:
        assert storage.append_thread("log", {}).rev == 1
    assert server.count(f"SELECT version FROM {new_schema}.torpor_schema") == 1  # noqa: S608


def test_tables_of_others_are_left_alone(server: Server, new_schema: str) -> None:
    """A table that has one of our names but is not ours is an error, not a place to write."""
    server.run(f"CREATE SCHEMA {new_schema}", f"CREATE TABLE {new_schema}.app_threads (id INT)")

    with pytest.raises(ConfigurationError, match="another program: app_threads"):
        SQLStorage(server.address, schema=new_schema, table_prefix="app_")


def test_prefixes_are_apart(server: Server) -> None:
    """Equal keys under two prefixes know nothing of each other (CP-8)."""
    with (
        SQLStorage(server.address, schema=server.schema) as one,
        SQLStorage(server.address, schema=server.schema, table_prefix="App_2") as other,
    ):
        one.commit([owned("agent", "agent#1", 1, expected_rev=0)])

        assert other.get_checkpoint("agent") is None
        assert other.commit([owned("agent", "agent#1", 2, expected_rev=0)])
        assert payloads(one.load_thread("agent#1")) == [1]
        assert payloads(other.load_thread("agent#1")) == [2]


# -- what is stored -------------------------------------------------------------------------------


def test_state_is_stored_byte_for_byte(server: Server) -> None:
    """Order, spaces, equal names, escapes and digits of a document stay as they were (rule 10)."""
    with open_storage(server.url) as storage:
        storage.commit([Change(key="agent", put=Put(data=AWKWARD))])

        assert checkpoint(storage, "agent").data == AWKWARD


QUERIES = {
    "PostgreSQL": "SELECT key FROM {0}.torpor_checkpoints"
    " WHERE CAST(data ->> 'count' AS integer) > 1",
    "MariaDB": "SELECT CONVERT(`key` USING utf8mb4) FROM {0}.torpor_checkpoints"
    " WHERE JSON_VALUE(data, '$.count') > 1",
}


def test_state_can_be_queried(server: Server) -> None:
    """The documented way to look into state finds it (rule 10)."""
    with open_storage(server.url) as storage:
        storage.commit([put("é one", {"count": 1}), put("é two", {"count": 2})])

    with server.admin.connect() as connection:
        found = connection.execute(text(QUERIES[server.name].format(server.schema)))
        assert found.scalars().all() == ["é two"]


@pytest.mark.parametrize("data", ["", "{", "nul \0", '"\ud800"', "'single'"])
def test_what_is_no_json_is_rejected_alone(server: Server, data: str) -> None:
    """Its neighbours are saved, and the storage goes on (rule 2)."""
    bad = Change(key="bad", put=Put(data=data))
    with open_storage(server.url) as storage:
        outcomes = storage.commit([put("a", 1), bad, put("c", 1)])

        assert [type(outcome) for outcome in outcomes] == [Saved, Rejected, Saved]
        assert storage.get_checkpoint("bad") is None


def test_kind_with_nul(postgresql: Storage, mariadb: Storage) -> None:
    """PostgreSQL's text can't contain it, so it is refused there, and nothing beside it."""
    for storage, expected in ((postgresql, Rejected), (mariadb, Saved)):
        odd = Change(key="odd", put=Put(data="1", kind="\0"))
        outcomes = storage.commit([put("a", 1), odd])
        assert [type(outcome) for outcome in outcomes] == [Saved, expected]


def test_nesting_that_mariadb_cannot_read(mariadb: Storage) -> None:
    """State deeper than its JSON functions go is refused by name; entries are not checked."""
    deep: Any = 1
    for _ in range(40):
        deep = [deep]

    mariadb.append_thread("log", {"payload": deep})
    with pytest.raises(StorageError, match="'agent' cannot be stored.*nested deeper"):
        mariadb.put_checkpoint("agent", deep)


def test_document_larger_than_a_packet(mariadb: Storage) -> None:
    """What MariaDB would hang up on is an error that names the limit."""
    assert mariadb.max_document_bytes is not None
    with pytest.raises(RecordTooLargeError):
        mariadb.put_checkpoint("agent", "x" * mariadb.max_document_bytes)

    mariadb.put_checkpoint("agent", "\\" * (mariadb.max_document_bytes // 2 - 2))
    assert checkpoint(mariadb, "agent").rev == 1


@pytest.mark.parametrize("backend", ["postgresql", "mariadb", "sqlalchemy_sqlite"])
def test_times_are_exact(backend: str, request: pytest.FixtureRequest) -> None:
    """Every finite moment comes back to the last bit, in records and in listings (rule 12)."""
    storage: Storage = request.getfixturevalue(backend)
    finite = st.floats(allow_nan=False, allow_infinity=False)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(finite, min_size=1, max_size=20), finite)
    def check(moments: list[float], at: float) -> None:
        changes = [
            Change(key=f"agent {number}", put=Put(data="1"), wake_at=moment, at=at)
            for number, moment in enumerate(moments)
        ]
        assert all(isinstance(outcome, Saved) for outcome in storage.commit(changes))
        found = [checkpoint(storage, change.key) for change in changes]
        assert [record.wake_at for record in found] == moments
        assert {record.updated_at for record in found} == {at}
        last = max(moments)
        assert _due(storage, last)[: len(moments)] == sorted(moments)
        storage.commit([Change(key=change.key, delete=True) for change in changes])

    check()


def _due(storage: Storage, before: float) -> list[float]:
    return [due.wake_at for due in storage.list_due(before)]


# -- what it costs --------------------------------------------------------------------------------


def test_batch_takes_few_statements(postgresql: Storage) -> None:
    """A thousand changes are four statements on PostgreSQL, and as many reads two (rule 11)."""
    assert isinstance(postgresql, SQLStorage)
    keys = [f"agent {number}" for number in range(1000)]
    changes = [owned(key, f"{key}#1", "first") for key in keys[:500]]
    changes += [put(key, 1) for key in keys[500:]]
    postgresql.commit(changes[::2])

    sent = _statements(postgresql, lambda: postgresql.commit([_anew(each) for each in changes]))
    assert len(sent) == 4  # lock what is there, insert the rest, replace, write entries
    assert len(_statements(postgresql, lambda: postgresql.read(keys))) == 2


def _anew(change: Change) -> Change:
    return Change(key=change.key, put=change.put, thread=change.thread)


# -- SQLite ---------------------------------------------------------------------------------------


def test_sqlite_file_is_the_same_both_ways(sqlalchemy_sqlite: Storage, sqlite_path: Path) -> None:
    """What one of the two backends for SQLite writes, the other one reads and goes on with."""
    sqlalchemy_sqlite.commit([owned("agent", "agent#1", 1, wake_at=1.5), put("gone", 1)])
    with SQLiteStorage(sqlite_path) as sqlite:
        assert sqlite.read(["agent"]) == sqlalchemy_sqlite.read(["agent"])
        sqlite.commit([owned("agent", "agent#1", 2, expected_rev=1, wake_at=2.5)])
        sqlite.delete_checkpoint("gone", expected_rev=1)

        sqlalchemy_sqlite.commit([owned("agent", "agent#1", 3, expected_rev=2)])
        for storage in (sqlite, sqlalchemy_sqlite):
            assert payloads(storage.load_thread("agent#1")) == [1, 2, 3]
            assert storage.put_checkpoint("gone", 1, expected_rev=0) in {2, 3}
            storage.delete_checkpoint("gone")
            assert storage.list_due(9.0) == []


def test_sqlite_file_of_others_is_refused(sqlite_path: Path) -> None:
    """A file of another program takes a prefix, or is left alone."""
    engine = sqlalchemy.create_engine(f"sqlite:///{sqlite_path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE checkpoints (id)")

    with pytest.raises(ConfigurationError, match="another program"):
        SQLStorage(engine)
    with SQLStorage(engine, table_prefix="torpor_") as storage:
        assert storage.put_checkpoint("agent", 1) == 1
    engine.dispose()


@pytest.mark.parametrize("begins", ["by itself", "by an event"])
def test_transactions_of_a_users_sqlite_engine(sqlite_path: Path, begins: str) -> None:
    """However an engine begins its transactions, no increment is lost (rule 2, rule 13)."""
    engine = sqlalchemy.create_engine(f"sqlite:///{sqlite_path}", connect_args={"timeout": 30})
    if begins == "by an event":  # as SQLAlchemy's manual has it

        def by_hand(connection: Any, _record: object) -> None:
            connection.isolation_level = None

        def begin(connection: sqlalchemy.Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        event.listen(engine, "connect", by_hand)
        event.listen(engine, "begin", begin)
    with SQLStorage(engine, timeout=PATIENCE) as storage:
        together(*[lambda: [storage.append_thread("log", {}) for _ in range(10)]] * 4)
        head = storage.thread_head("log")
        assert head is not None
        assert head.rev == 40
    engine.dispose()


def test_sqlite_in_memory_needs_a_prefix() -> None:
    """Tables in memory can be had through an engine, by those who ask for them."""
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.StaticPool)
    with pytest.raises(ConfigurationError, match="MemoryStorage"):
        SQLStorage(engine)
    with SQLStorage(engine, table_prefix="t_") as storage, MemoryStorage() as memory:
        for each in (storage, memory):
            each.commit([owned("agent", "agent#1", 1)])
            assert payloads(each.load_thread("agent#1")) == [1]
    engine.dispose()


# -- other drivers --------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_statements_of_any_database(
    backend: str, sql_servers: dict[str, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent to a database without statements of its own works there too."""
    server = sql_servers[backend]
    server.require()
    server.empty()
    for name in ("PsycopgStatements", "MySQLStatements"):
        monkeypatch.setattr(
            f"torpor.storage.sql.storage.{name}", lambda tables, *_: Statements(tables)
        )
    with open_storage(server.url) as storage:
        first: Sequence[object] = storage.commit(
            [owned("a", "a#1", 1, 2), put("b", 1, wake_at=1.0), put("c", 1)]
        )
        assert [type(outcome) for outcome in first] == [Saved] * 3
        storage.commit([owned("a", "a#1", 3, trim_before=1), put("b", 2), put("d", 1)])
        storage.delete_checkpoint("c")
        assert payloads(storage.load_thread("a#1")) == [2, 3]
        assert [record.key for record in storage.list_checkpoints()] == ["a", "b", "d"]
        assert storage.vacuum(-1.0) == 1
        assert json.loads(checkpoint(storage, "b").data) == 2
