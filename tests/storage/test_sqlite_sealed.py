"""Rows of SQLite that were changed by somebody who knows how checksums are made."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.kit import seal
from torpor.storage import Rejected, ThreadHead, codec
from torpor.storage.check import check
from torpor.storage.errors import CorruptRecordError
from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.testing.kit import owned, put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = ThreadHead(id="a#1", rev=3, last="e", created_at=1.0, updated_at=2.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with two agents."""
    with SQLiteStorage(tmp_path / "store") as storage:
        storage.commit([owned(key, f"{key}#1", "entry", value=key) for key in "ab"])
    return tmp_path / "store"


@pytest.fixture
def storage(path: Path) -> Iterator[SQLiteStorage]:
    """Return a storage on it."""
    with SQLiteStorage(path) as storage:
        yield storage


def _execute(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def _seal(path: Path, head: str | None, data: str | None) -> None:
    """Store another head and other data of the agent "a", with a checksum that fits."""
    with closing(sqlite3.connect(path)) as connection:
        [(change_id, kind)] = connection.execute(
            "SELECT change_id, kind FROM checkpoints WHERE key = 'a'"
        )
    checksum = seal("a", "1", change_id, "0", kind, "1", "None", head or "", data or "")
    statement = "UPDATE checkpoints SET thread = ?, data = ?, checksum = ? WHERE key = 'a'"
    _execute(path, statement, head, data, checksum)


def test_no_data(storage: SQLiteStorage, path: Path) -> None:
    """A live record without data is corrupt, and no ``AssertionError`` (rule 10)."""
    _seal(path, None, None)

    with pytest.raises(CorruptRecordError, match="no data"):
        storage.get_checkpoint("a")


def test_head_of_another(storage: SQLiteStorage, path: Path) -> None:
    """A head that is another agent's is not followed (rule 6)."""
    _seal(path, codec.encode_head(replace(HEAD, id="b#1", rev=1)), "1")

    with pytest.raises(CorruptRecordError, match="another thread's"):
        storage.get_checkpoint("a")


def test_endless_thread(storage: SQLiteStorage, path: Path) -> None:
    """More entries than there is memory for are not counted one by one (rule 10)."""
    _seal(path, codec.encode_head(replace(HEAD, rev=2**62)), '"a"')

    with pytest.raises(CorruptRecordError, match="gaps"):
        storage.load_thread("a#1")


def test_time_that_equals_nothing(storage: SQLiteStorage, path: Path) -> None:
    """A head with NaN differs from itself: it is not read again for ever (rule 10)."""
    head = codec.encode_head(HEAD)
    assert head is not None
    _seal(path, head.replace('"created_at":1.0', '"created_at":NaN'), '"a"')
    _execute(path, "DELETE FROM entries")

    with pytest.raises(CorruptRecordError):
        storage.load_thread("a#1")


@pytest.mark.parametrize("key", ["CAST(X'61FF' AS TEXT)", "X'61'", "7.5", "NULL"])
def test_key_that_is_no_text(storage: SQLiteStorage, path: Path, key: str) -> None:
    """It is found by ``check``, and hides no other that is due (rule 10, rule 12)."""
    for each in "ab":
        storage.commit([put(each, each, wake_at=1.0)])
    _execute(path, f"UPDATE checkpoints SET key = {key} WHERE key = 'a'")  # noqa: S608

    assert "record" in {finding.problem for finding in check(storage)}
    assert [due.key for due in storage.list_due(5.0) if due.key == "b"] == ["b"]


def test_damaged_record_is_no_tombstone(storage: SQLiteStorage, path: Path) -> None:
    """What says that it is deleted, and holds data, is not vacuumed (rule 10)."""
    _execute(path, "UPDATE checkpoints SET deleted = 1 WHERE key = 'a'")

    assert storage.vacuum(-1e9) == 0
    with pytest.raises(CorruptRecordError):
        storage.get_checkpoint("a")


def test_revision_that_is_no_number(storage: SQLiteStorage, path: Path) -> None:
    """Nothing goes on from it, alone or in a batch (rule 4, rule 10)."""
    storage.put_checkpoint("c", 1)
    _execute(path, "UPDATE checkpoints SET rev = 1.5 WHERE key = 'c'")

    for batch in (["c"], ["c", "d"]):
        outcome, *_ = storage.commit([put(key, 2) for key in batch])
        assert isinstance(outcome, Rejected)
        assert isinstance(outcome.error, CorruptRecordError)
