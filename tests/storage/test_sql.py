"""What is peculiar to SQL storage: whose connections, which options, how state is stored."""

from __future__ import annotations

import json
import multiprocessing
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from tests.places.sql import MARIADB, POSTGRESQL, SQLServer
from tests.storage.sql_kit import count_statements, number_connections, sent_by
from torpor.storage import Change, Conflict, Put, Rejected, Saved, open_storage
from torpor.storage.errors import (
    ConfigurationError,
    RecordTooLargeError,
    StorageError,
    StorageUnavailableError,
)
from torpor.storage.sql import SQLStorage
from torpor.storage.sql.statements import Statements
from torpor.storage.testing.kit import PATIENCE, append, checkpoint, owned, payloads, put

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.storage import Storage
    from torpor.storage.sql.schema import Tables

AWKWARD = '{ "b" : 1.50,\t"a":"\\u0000\\ud83d\\ude00 \N{GRINNING FACE}", "a": 1e400}'


# -- whose engine ---------------------------------------------------------------------------------


def test_engine_of_the_user_stays_open(sql_server: SQLServer) -> None:
    """Whoever made the engine closes it, and its own settings are as they were (DESIGN 4)."""
    engine = sqlalchemy.create_engine(sql_server.admin.url, isolation_level="SERIALIZABLE")
    pool: Any = engine.pool
    with SQLStorage(engine, schema=sql_server.schema) as storage:
        assert storage.put_checkpoint("agent", 1) == 1
        assert storage.engine is engine

    with engine.connect() as connection:
        assert connection.get_isolation_level() == "SERIALIZABLE"
        assert connection.execute(text("SELECT 1")).scalar() == 1
    assert pool.checkedin() == 1
    engine.dispose()


def test_own_engine_is_closed(sql_server: SQLServer) -> None:
    """What the storage opened it closes, and events of the engine tell of statements."""
    with SQLStorage.from_url(sql_server.url) as storage:
        assert sent_by(storage, lambda: storage.get_checkpoint("agent"))
        pool: Any = storage.engine.pool
        assert pool.checkedin() == 1
    assert pool is not storage.engine.pool


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
def test_forked_child(sql_server: SQLServer) -> None:
    """It has connections of its own, and neither process disturbs the other (rule 13)."""
    with open_storage(sql_server.url) as storage:
        storage.put_checkpoint("agent", "parent")

        process = multiprocessing.get_context("fork").Process(
            target=storage.put_checkpoint, args=("agent", "child")
        )
        process.start()
        process.join(PATIENCE)

        assert process.exitcode == 0
        assert checkpoint(storage, "agent").value == "child"


# -- URLs and options -----------------------------------------------------------------------------


def test_options_in_url(sql_server: SQLServer) -> None:
    """Options count in the URL and beside it; what is not an option is the driver's."""
    with open_storage(f"{sql_server.url}&timeout=2&connect_timeout=7", timeout=1.5) as storage:
        assert isinstance(storage, SQLStorage)
        assert storage.timeout == 1.5
        with storage.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
        seconds = (
            driver.info.get_parameters()["connect_timeout"]
            if sql_server is POSTGRESQL
            else driver.connect_timeout
        )
        assert int(seconds) == 7


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


def test_unknown_option_is_refused(sql_server: SQLServer) -> None:
    """A misspelt option is not ignored."""
    with pytest.raises(ConfigurationError, match="colour"):
        open_storage(sql_server.url, colour="red")


def test_repr_has_no_secrets(empty_place: Callable[[str], str]) -> None:
    """A storage can be logged: no password, no query, which may hold one too."""
    url = f"{empty_place('postgresql').replace('@', ':secret@')}&passfile=secret"
    with open_storage(url) as storage:
        assert "secret" not in repr(storage)
        assert repr(storage).startswith("<SQLStorage ")
        assert "127.0.0.1" in repr(storage)


# -- what is stored -------------------------------------------------------------------------------


def test_state_is_stored_byte_for_byte(sql_server: SQLServer) -> None:
    """Order, spaces, equal names, escapes and digits of a document stay as they were (rule 10)."""
    with open_storage(sql_server.url) as storage:
        storage.commit([Change(key="agent", put=Put(data=AWKWARD))])

        assert checkpoint(storage, "agent").data == AWKWARD


QUERIES = {
    "PostgreSQL": "SELECT key FROM {0}.torpor_checkpoints"
    " WHERE CAST(data ->> 'count' AS integer) > 1",
    "MariaDB": "SELECT CONVERT(`key` USING utf8mb4) FROM {0}.torpor_checkpoints"
    " WHERE JSON_VALUE(data, '$.count') > 1",
}


def test_state_can_be_queried(sql_server: SQLServer) -> None:
    """The documented way to look into state finds it (rule 10)."""
    with open_storage(sql_server.url) as storage:
        storage.commit([put("é one", {"count": 1}), put("é two", {"count": 2})])

    with sql_server.admin.connect() as connection:
        found = connection.execute(text(QUERIES[sql_server.name].format(sql_server.schema)))
        assert found.scalars().all() == ["é two"]


@pytest.mark.parametrize("data", ["", "{", "nul \0", '"\ud800"', "'single'"])
def test_what_is_no_json_is_rejected_alone(sql_server: SQLServer, data: str) -> None:
    """Its neighbours are saved, and the storage goes on (rule 2)."""
    bad = Change(key="bad", put=Put(data=data))
    with open_storage(sql_server.url) as storage:
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
    with pytest.raises(StorageError, match=r"'agent' cannot be stored.*nested deeper"):
        mariadb.put_checkpoint("agent", deep)


def test_document_larger_than_a_packet(mariadb: Storage) -> None:
    """What MariaDB would hang up on is an error that names the limit."""
    assert mariadb.max_document_bytes is not None
    with pytest.raises(RecordTooLargeError):
        mariadb.put_checkpoint("agent", "x" * mariadb.max_document_bytes)

    mariadb.put_checkpoint("agent", "\\" * (mariadb.max_document_bytes // 2 - 2))
    assert checkpoint(mariadb, "agent").rev == 1


@pytest.mark.parametrize("url", ["postgresql", "mariadb", "sqlalchemy-sqlite"], indirect=True)
def test_times_are_exact(url: str) -> None:
    """Every finite moment comes back to the last bit, in records and in listings (rule 12)."""
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

    with open_storage(url) as storage:
        check()


def _due(storage: Storage, before: float) -> list[float]:
    return [due.wake_at for due in storage.list_due(before)]


def test_mariadb_that_would_cut_values_off(empty_place: Callable[[str], str]) -> None:
    """An engine whose sessions store something else than they are given is refused."""
    assert empty_place("mariadb")
    engine = sqlalchemy.create_engine(
        MARIADB.admin.url, connect_args={"init_command": "SET sql_mode = ''"}
    )
    with pytest.raises(ConfigurationError, match="STRICT"):
        SQLStorage(engine, schema=MARIADB.schema)
    engine.dispose()


# -- what it costs --------------------------------------------------------------------------------


def test_batch_takes_few_statements(sql_server: SQLServer) -> None:
    """A thousand changes or reads are a handful of statements (rule 11).

    PostgreSQL: lock what is there, insert the rest, replace, write entries; read records and
    newest entries. To MariaDB lists of keys go in halves, and commits count.
    """
    writes, reads = {"PostgreSQL": (4, 2), "MariaDB": (8, 6)}[sql_server.name]
    keys = [f"agent {number}" for number in range(1000)]
    changes = [owned(key, f"{key}#1", "first") for key in keys[:500]]
    changes += [put(key, 1) for key in keys[500:]]
    with open_storage(sql_server.url, timeout=PATIENCE) as storage:
        storage.commit(changes[::2])

        anew = [_anew(each) for each in changes]
        assert count_statements(storage, lambda: storage.commit(anew)) <= writes
        assert count_statements(storage, lambda: storage.read(keys)) <= reads


def _anew(change: Change) -> Change:
    return Change(key=change.key, put=change.put, thread=change.thread)


# -- other drivers --------------------------------------------------------------------------------


def test_statements_of_any_database(sql_server: SQLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent to a database without statements of its own works there too."""

    def plain(tables: Tables, *_: object) -> Statements:
        return Statements(tables)

    for name in ("PsycopgStatements", "MySQLStatements"):
        monkeypatch.setattr(f"torpor.storage.sql.storage.{name}", plain)
    with open_storage(sql_server.url) as storage:
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


# -- other writers --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [put, append])
def test_first_write_is_a_conflict(
    make: Callable[..., Change], sql_server: SQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that found nothing the second conflicts; its neighbour is saved (rule 2, rule 13)."""
    with (
        SQLStorage.from_url(sql_server.url) as storage,
        SQLStorage.from_url(sql_server.url) as other,
    ):
        statements: Any = storage._statements  # pyright: ignore[reportPrivateUsage] - see below
        read_revisions = statements.read_revisions

        def be_late(*arguments: Any) -> Any:
            """Read, and let another one write before it is written what was decided by that."""
            rows = list(read_revisions(*arguments))
            other.commit([make("key", "first")])
            monkeypatch.undo()
            return rows

        monkeypatch.setattr(statements, "read_revisions", be_late)
        late, neighbour = storage.commit(
            [make("key", "late", expected_rev=0), make("other", 1, expected_rev=0)]
        )

        assert late == Conflict("key", 0, 1)
        assert isinstance(neighbour, Saved)


def test_connection_lost_while_committing(sql_server: SQLServer) -> None:
    """Nobody knows whether it was saved, so nobody sends it again but the caller (rule 3)."""
    with SQLStorage.from_url(sql_server.url) as storage:
        storage.engine.dispose()
        connections = number_connections(storage)
        commits: list[int] = []

        def hang_up(_connection: object) -> None:
            commits.append(len(connections))
            if len(commits) == 1:
                sql_server.hang_up(connections)

        event.listen(storage.engine, "commit", hang_up)
        changes = [owned("agent", "agent#1", 1, expected_rev=0)]
        with pytest.raises(StorageUnavailableError):
            storage.commit(changes)
        assert len(commits) == 1

        [outcome] = storage.commit(changes)
        assert isinstance(outcome, Saved)
        assert outcome.rev == 1
        assert payloads(storage.load_thread("agent#1")) == [1]
