"""SQLite storage and damaged bytes, values that it can't take, and values that it must keep."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.sqlite_kit import limit_values
from torpor.storage import Change, Put, Record, Rejected, Saved, Space
from torpor.storage.errors import CorruptRecordError, StorageError
from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.sqlite import statements as sql
from torpor.storage.testing.kit import append, checkpoint, owned, payloads, put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# ruff: noqa: S608 - no value from outside is put into a statement

BROKEN_TEXT = "CAST(X'22FF22' AS TEXT)"
DAMAGES = [
    f"data = {BROKEN_TEXT}",
    "data = replace(data, 'o', '0')",
    "data = NULL",
    "data = X'00'",
    "data = data || char(30) || char(31)",
    f"kind = {BROKEN_TEXT}",
    "kind = 'other'",
    f"thread = {BROKEN_TEXT}",
    "thread = '{}'",
    "rev = rev + 1",
    "rev = NULL",
    "rev = 'one'",
    "deleted = NULL",
    "version = NULL",
    "wake_at = 7",
    "updated_at = 'now'",
    "change_id = NULL",
    "checksum = checksum - 1",
    "checksum = NULL",
]


@pytest.fixture
def storage(sqlite_path: Path) -> Iterator[SQLiteStorage]:
    """Return a storage with three agents and their threads."""
    with SQLiteStorage(sqlite_path) as storage:
        storage.commit([owned(key, f"{key}#1", "entry", value="text of " + key) for key in "abc"])
        yield storage


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_column(storage: SQLiteStorage, sqlite_path: Path, damage: str) -> None:
    """It is told of that key alone, read singly or with others, and left (rule 10, CP-12)."""
    _execute(sqlite_path, f"UPDATE checkpoints SET {damage} WHERE key = 'b'")
    before = _stored(sqlite_path)

    with pytest.raises(CorruptRecordError) as caught:
        storage.get_checkpoint("b")
    a, b, c, missing = storage.read(["a", "b", "c", "missing"])

    assert caught.value.key == "b"
    assert isinstance(b, CorruptRecordError)
    assert b.key == "b"
    assert isinstance(a, Record)
    assert isinstance(c, Record)
    assert (a.data, c.data, missing) == ('"text of a"', '"text of c"', None)
    assert [record.key for record in storage.list_checkpoints(limit=1)] == ["a"]
    assert "b" not in [record.key for record in storage.list_checkpoints()]
    assert _stored(sqlite_path) == before


@pytest.mark.parametrize(
    "damage", [f"thread = {BROKEN_TEXT}", "thread = '{}'", "thread = replace(thread, 'rev', 'vre')"]
)
@pytest.mark.parametrize("batch", [["b"], ["a", "b", "c"]])
def test_damaged_head_is_not_written_on(
    storage: SQLiteStorage, sqlite_path: Path, damage: str, batch: list[str]
) -> None:
    """A thread that can't be trusted is not appended to; other changes are saved (rule 10)."""
    _execute(sqlite_path, f"UPDATE checkpoints SET {damage} WHERE key = 'b'")
    before = _stored(sqlite_path)["b"]

    outcomes = storage.commit([owned(key, f"{key}#1", "more") for key in batch])

    for key, outcome in zip(batch, outcomes, strict=True):
        if key == "b":
            assert isinstance(outcome, Rejected)
            assert isinstance(outcome.error, CorruptRecordError)
        else:
            assert isinstance(outcome, Saved)
            assert payloads(storage.load_thread(f"{key}#1")) == ["entry", "more"]
    assert _stored(sqlite_path)["b"] == before


@pytest.mark.parametrize("damage", [f"document = {BROKEN_TEXT}", "checksum = NULL", "document = 1"])
def test_damaged_entry(storage: SQLiteStorage, sqlite_path: Path, damage: str) -> None:
    """It is told of its thread alone, and of an agent that points at it (rule 10, TH-32)."""
    _execute(sqlite_path, f"UPDATE entries SET {damage} WHERE thread_id = 'b#1'")

    with pytest.raises(CorruptRecordError) as caught:
        storage.load_thread("b#1")

    assert caught.value.key == "b#1"
    assert payloads(storage.load_thread("a#1")) == ["entry"]
    a, _, c = storage.read(["a", "b", "c"])
    assert isinstance(a, Record)
    assert isinstance(c, Record)


def test_damaged_page(sqlite_path: Path) -> None:
    """A page that is no page any more hides its own records and no others (rule 8, rule 10)."""
    keys = [f"agent {number:03}" for number in range(100)]
    with SQLiteStorage(sqlite_path) as storage:
        storage.commit([put(key, f"<{key}>" * 70) for key in keys])
    content = bytearray(sqlite_path.read_bytes())
    page = content.index(b"<agent 050>") // 8192 * 8192
    content[page : page + 8192] = b"\xff" * 8192
    sqlite_path.write_bytes(content)

    with SQLiteStorage(sqlite_path) as storage:
        found = dict(zip(keys, storage.read(keys), strict=True))
        hidden = [key for key, record in found.items() if isinstance(record, CorruptRecordError)]
        sound = [key for key, record in found.items() if isinstance(record, Record)]
        assert "agent 050" in hidden
        assert len(hidden) < 12
        assert len(sound) == len(keys) - len(hidden)

        outcomes = storage.commit([put("agent 050", "new"), put(sound[0], "new")])

        assert isinstance(outcomes[0], Rejected)
        assert isinstance(outcomes[0].error, CorruptRecordError)
        assert outcomes[1] == Saved(2)


@pytest.mark.parametrize(
    "put_fields",
    [
        {"kind": chr(0xD800)},
        {"kind": chr(0xDC80)},
        {"version": 2**70},
        {"data": f'"{chr(0xDC80)}"'},
        {"data": json.dumps("x" * 200_000)},
    ],
    ids=["surrogate", "escaped byte", "long number", "surrogate in data", "too large"],
)
@pytest.mark.parametrize("neighbours", ["", "xyz"])
def test_unstorable_change(
    storage: SQLiteStorage, put_fields: dict[str, Any], neighbours: str
) -> None:
    """What SQLite can't take is rejected, and the changes beside it are saved (rule 2, HC-35)."""
    limit_values(storage, 100_000)
    bad = Change(key="a", put=replace(Put(data="1"), **put_fields))

    outcome, *others = storage.commit([bad, *(put(key) for key in neighbours)])

    assert isinstance(outcome, Rejected)
    assert isinstance(outcome.error, StorageError)
    assert others == [Saved(1)] * len(neighbours)
    assert checkpoint(storage, "a").value == "text of a"


def test_large_records_and_threads(storage: SQLiteStorage) -> None:
    """Together they may be larger than any one value that SQLite takes (HC-35)."""
    document = "x" * 60_000
    keys = [f"large {number}" for number in range(10)]
    for key in keys:
        storage.commit([put(key, document)])
        storage.commit([append("log", document)])
    limit_values(storage, 100_000)

    records = storage.read(keys)

    assert [record.data for record in records if isinstance(record, Record)] == [
        f'"{document}"'
    ] * 10
    assert payloads(storage.load_thread("log")) == [document] * 10
    assert payloads(storage.load_thread("log", tail=3)) == [document] * 3


def test_long_thread(storage: SQLiteStorage) -> None:
    """A thread longer than what is read at once comes whole and in order (rule 5)."""
    storage.append_thread("log", ({"kind": "ab"[n % 2], "payload": n} for n in range(3500)))

    assert payloads(storage.load_thread("log")) == list(range(3500))
    assert payloads(storage.load_thread("log", tail=2500)) == list(range(1000, 3500))
    assert payloads(storage.load_thread("log", limit=1500)) == list(range(1500))
    assert payloads(storage.load_thread("log", kinds=["a"], tail=1200)) == list(
        range(1100, 3500, 2)
    )


_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
_separators = st.text(st.sampled_from("\x1e\x1f,\n'\"x"), min_size=1, max_size=10)
_times = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**40), 2**40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(_text | _separators, min_size=2, max_size=5, unique=True),
    kind=st.just("") | _text | _separators,
    change=st.data(),
    version=st.integers(-(2**63), 2**63 - 1),
    data=_text.map(json.dumps) | _text.map(lambda text: json.dumps(text, ensure_ascii=False)),
)
def test_every_value_comes_back(  # noqa: PLR0913 - one for each column
    storage: SQLiteStorage,
    keys: list[str],
    kind: str,
    change: st.DataObject,
    version: int,
    data: str,
) -> None:
    """Singly, in a batch and in a listing a record is, to the bit, what was put (rule 9, CP-2)."""
    changes = [
        Change(
            key=key,
            put=Put(data=data, kind=kind, version=version),
            wake_at=change.draw(_times),
            at=change.draw(st.floats(0, 1e12)),
        )
        for key in keys
    ]
    assert all(isinstance(outcome, Saved) for outcome in storage.commit(changes))

    together = storage.read(keys)

    assert together == [storage.read([key])[0] for key in keys]
    listed = {record.key: record for record in storage.list_checkpoints(limit=10_000)}
    for item, record in zip(changes, together, strict=True):
        assert isinstance(record, Record)
        assert (record.key, record.kind, record.version, record.data, record.change_id) == (
            item.key,
            kind,
            version,
            data,
            item.id,
        )
        assert record.wake_at == item.wake_at
        assert record.updated_at == item.at
        assert listed[item.key] == record


def test_stray_entries_are_overwritten(storage: SQLiteStorage, sqlite_path: Path) -> None:
    """Entries beyond the head are not seen, and the next append goes over them (rule 6)."""
    _execute(
        sqlite_path,
        "INSERT INTO entries SELECT thread_id, 1, 'stray', document, 0 FROM entries",
    )
    assert payloads(storage.load_thread("a#1")) == ["entry"]

    storage.commit([owned("a", "a#1", "second")])

    assert payloads(storage.load_thread("a#1")) == ["entry", "second"]


def test_readable_by_other_programs(storage: SQLiteStorage, sqlite_path: Path) -> None:
    """Any SQLite client finds plain columns and JSON (rule 10, W-39)."""
    storage.commit([owned("d", "d#1", {"n": 5}, value={"count": 3})])

    with closing(sqlite3.connect(sqlite_path)) as connection:
        [row] = connection.execute(
            "SELECT c.rev, c.data ->> 'count', e.document ->> '$.payload.n' FROM checkpoints AS c"
            " JOIN entries AS e ON e.thread_id = c.thread ->> 'id' WHERE c.key = 'd'"
        )
    assert row == (1, 3, 5)


@pytest.mark.usefixtures("storage")
def test_all_is_found_by_index(sqlite_path: Path) -> None:
    """Nothing that is asked for takes reading a whole table (rule 7, rule 12)."""
    statements: dict[str, Any] = {
        sql.LIST_DUE: {"before": 1.0, "limit": 1},
        sql.list_records(Space.CHECKPOINTS): ("a", "b", 1),
        sql.read_records(Space.CHECKPOINTS): ("[]",),
        sql.read_revisions(Space.THREADS): ("[]",),
        sql.read_entries(of_kinds=False, newest=True): {
            "thread": "",
            "start": 0,
            "stop": 1,
            "limit": 1,
        },
        sql.ENTRY_IDS: ("[]",),
        sql.DELETE_ENTRIES: ("[]",),
        sql.vacuum(Space.THREADS): (1.0,),
    }
    with closing(sqlite3.connect(sqlite_path)) as connection:
        for statement, parameters in statements.items():
            for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters):
                for table in ("checkpoints", "threads", "entries", "stored USING"):
                    assert f"SCAN {table}" not in step, statement


def _execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(statement).rowcount > 0
        connection.commit()


def _stored(path: Path) -> dict[Any, Any]:
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        return {row[0].decode(): row for row in connection.execute("SELECT * FROM checkpoints")}
