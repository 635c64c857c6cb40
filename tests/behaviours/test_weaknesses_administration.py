"""Weaknesses of the systems that came before: what is stored can be seen, removed and read."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.behaviours.kit import Counter, Lazy, Watch, records
from torpor import Hibernated, HibernationReason, Runtime, Thawed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torpor.storage.faulty import FaultyStorage


def test_what_is_stored_can_be_listed_and_removed(runtime: Runtime, storage: FaultyStorage) -> None:
    """Stored agents are listed by class and partition, deleted whole, and vacuumed (W-36)."""
    for key, partition in (("a", None), ("b", None), ("a", "p")):
        runtime.get(Counter, key, partition=partition).ask(Counter.note, "x")
    runtime.get(Lazy, "a").ask(Lazy.note, "x")
    runtime.get(Lazy, "a").hibernate()

    stored = records(storage, "counter/")
    assert [record.key for record in stored] == ["counter/a", "counter/b"]
    assert all(record.updated_at > 0 for record in stored)
    assert [r.key for r in records(storage, "counter@p/")] == ["counter@p/a"]

    threads = [record.thread.id for record in records(storage) if record.thread]
    assert len(threads) == 4
    runtime.get(Counter, "a").delete()
    storage.delete_checkpoint("lazy/a")
    assert len(records(storage)) == 2
    assert [storage.load_thread(thread) is None for thread in threads] == [True, False, False, True]
    assert runtime.get(Lazy, "a").ask(Lazy.notes) == []

    assert storage.vacuum(older_than=-1e10) == 2
    assert storage.vacuum(older_than=-1e10) == 0


def test_deleting_is_no_error_for_who_is_not_there(runtime: Runtime) -> None:
    """An agent can be deleted asleep, awake, twice, and before it was born (W-36)."""
    ref = runtime.get(Counter, "a", initial={"count": 5})
    ref.delete()
    assert ref.ask(Counter.add) == 6
    ref.delete()
    ref.delete()
    assert runtime.thaw(Counter, "a") is None
    ref.ask(Counter.note, "x")
    ref.hibernate()
    ref.delete()

    assert runtime.thaw(Counter, "a") is None
    assert ref.ask(Counter.notes) == []


def test_lives_can_be_watched(runtime: Runtime, watch: Watch) -> None:
    """Each thaw and each hibernation is an event, and is counted (W-36)."""
    ref = runtime.get(Counter, "a")
    for _ in range(2):
        ref.ask(Counter.add)
        ref.hibernate()

    assert watch.events == [
        Thawed(ref.address, fresh=True, rev=0),
        Hibernated(ref.address, HibernationReason.REQUESTED),
        Thawed(ref.address, fresh=False, rev=1),
        Hibernated(ref.address, HibernationReason.REQUESTED),
    ]
    assert (runtime.stats().thaws, runtime.stats().hibernations) == (2, 2)


def test_a_renamed_class_keeps_its_agents(storage: FaultyStorage) -> None:
    """Under the old kind a renamed or moved class finds what it stored (W-37)."""

    class Renamed(Counter, kind="counter"):
        """Was once called Counter."""

    with Runtime(storage) as runtime:
        runtime.get(Counter, "a").ask(Counter.add, 5)
        runtime.get(Counter, "a").ask(Counter.note, "before")
    with Runtime(storage) as runtime:
        ref = runtime.get(Renamed, "a")
        assert ref.ask(Renamed.add) == 6
        assert ref.ask(Renamed.notes) == ["before"]
    with Runtime(storage) as runtime:
        assert runtime.get(Counter, "a").ask(Counter.read) == 6


def read_sqlite(path: Path) -> tuple[Any, list[Any]]:
    """Return the state and the entries with Python's own SQLite and JSON."""
    with closing(sqlite3.connect(path)) as connection:
        [(data,)] = connection.execute("SELECT data FROM checkpoints WHERE key = 'counter/a'")
        entries = connection.execute("SELECT document FROM entries ORDER BY seq").fetchall()
    return json.loads(data), [json.loads(document) for (document,) in entries]


def read_files(path: Path) -> tuple[Any, list[Any]]:
    """Return the state and the entries with Python's own files and JSON."""
    [record] = path.glob("checkpoints/*.json")
    [log] = path.glob("threads/*/entries.jsonl")
    lines = log.read_text("utf-8").splitlines()
    return (
        json.loads(record.read_text("utf-8"))["value"],
        [json.loads(line)["entry"] for line in lines],
    )


@pytest.mark.parametrize(("backend", "read"), [("sqlite", read_sqlite), ("file", read_files)])
def test_what_is_stored_is_json(
    tmp_path: Path, backend: str, read: Callable[[Path], tuple[Any, list[Any]]]
) -> None:
    """Any program can read what is stored; nothing in it is code (W-39)."""
    path = tmp_path / "store"
    with Runtime(f"{backend}:///{path}") as runtime:
        runtime.get(Counter, "a").ask(Counter.add, 5)
        runtime.get(Counter, "a").ask(Counter.note, "ü\n😀")

    state, [entry] = read(path)

    assert state == {"count": 5}
    assert (entry["kind"], entry["payload"], entry["refs"]) == ("note", {"text": "ü\n😀"}, {})
    for file in path.parent.rglob("*"):
        assert not file.is_file() or b"tests.behaviours" not in file.read_bytes()
