"""SQLite by way of SQLAlchemy: the same file as SQLite storage's, any engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from sqlalchemy import event

from torpor.storage import open_storage
from torpor.storage.errors import (
    ConfigurationError,
)
from torpor.storage.memory import MemoryStorage
from torpor.storage.sql import SQLStorage
from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.testing.kit import PATIENCE, owned, payloads, put, together

if TYPE_CHECKING:
    from pathlib import Path


def test_sqlite_file_is_the_same_both_ways(sqlalchemy_sqlite_url: str, sqlite_path: Path) -> None:
    """What one of the two backends for SQLite writes, the other one reads and goes on with."""
    with (
        open_storage(sqlalchemy_sqlite_url) as sqlalchemy_sqlite,
        SQLiteStorage(sqlite_path) as sqlite,
    ):
        sqlalchemy_sqlite.commit([owned("agent", "agent#1", 1, wake_at=1.5), put("gone", 1)])
        assert sqlite.read(["agent"]) == sqlalchemy_sqlite.read(["agent"])
        sqlite.commit([owned("agent", "agent#1", 2, expected_rev=1, wake_at=2.5)])
        sqlite.delete_checkpoint("gone", expected_rev=1)

        sqlalchemy_sqlite.commit([owned("agent", "agent#1", 3, expected_rev=2)])
        for storage in (sqlite, sqlalchemy_sqlite):
            assert payloads(storage.load_thread("agent#1")) == [1, 2, 3]
            assert storage.put_checkpoint("gone", 1, expected_rev=0) in {2, 3}
            storage.delete_checkpoint("gone")
            assert storage.list_due(9.0) == []


def test_sqlite_folder_is_made(tmp_path: Path) -> None:
    """As ``SQLiteStorage`` does it; without ``create`` nothing is made."""
    url = f"sqlite+sqlalchemy:///{tmp_path}/new/store.db"
    with pytest.raises(ConfigurationError, match="has no tables"):
        open_storage(url, create=False)
    assert not (tmp_path / "new").exists()

    with open_storage(url) as storage:
        storage.put_checkpoint("agent", 1)
    with open_storage(url, create=False) as storage:
        assert storage.get_checkpoint("agent") is not None


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


def test_sqlite_has_no_schemas(sqlalchemy_sqlite_url: str) -> None:
    """Whoever asks for one is told what there is instead."""
    with pytest.raises(ConfigurationError, match="table_prefix"):
        open_storage(sqlalchemy_sqlite_url, schema="main")


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
