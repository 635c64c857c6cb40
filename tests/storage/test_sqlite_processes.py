"""SQLite storage under processes that are killed or that fork."""

from __future__ import annotations

import multiprocessing
import random
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.storage.sqlite_kit import open_file
from torpor.storage import Change, Saved
from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.testing.kit import PATIENCE, checkpoint, owned, payloads

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

KEYS = [f"agent {number}" for number in range(5)]


def test_killed_at_random_moments(sqlite_path: Path) -> None:
    """What was acknowledged is there once, and so is what is sent again (rule 1, rule 3)."""
    chance = random.Random(20130101)
    for _ in range(5):
        acknowledged = _kill_after(chance.uniform(0.0, 0.1), sqlite_path)

        with SQLiteStorage(sqlite_path) as storage:
            numbers = [checkpoint(storage, key).value for key in KEYS]
            last = numbers[0]
            assert numbers == [last] * len(KEYS)
            assert acknowledged <= last <= acknowledged + 1
            resent = storage.commit(_step(acknowledged + 1))
            assert [outcome.rev for outcome in resent if isinstance(outcome, Saved)] == [
                acknowledged + 1
            ] * len(KEYS)
            for key in KEYS:
                assert payloads(storage.load_thread(f"{key}#1")) == list(range(1, acknowledged + 2))


def _step(number: int) -> list[Change]:
    return [
        owned(key, f"{key}#1", number, value=number, expected_rev=number - 1, id=f"{key} {number}")
        for key in KEYS
    ]


def _kill_after(seconds: float, path: Path) -> int:
    """Kill a writing process so long after its first commit; return the last that it told of."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_write, args=(path, sender), daemon=True)
    process.start()
    sender.close()
    told = 0
    try:
        assert receiver.poll(PATIENCE), "the process committed nothing"
        process.join(seconds)
        assert process.is_alive()
    finally:
        process.kill()
        process.join(PATIENCE)
    with receiver:
        while True:
            try:
                told = receiver.recv()
            except (EOFError, OSError):  # it may have been killed while it was telling
                return told


def _write(path: Path, acknowledged: Connection) -> None:
    with SQLiteStorage(path) as storage:
        found = storage.get_checkpoint(KEYS[0])
        number = found.value if found else 0
        while True:
            number += 1
            outcomes = storage.commit(_step(number))
            assert all(isinstance(outcome, Saved) for outcome in outcomes)
            acknowledged.send(number)


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
def test_forked_child(sqlite_path: Path) -> None:
    """It has connections of its own, and neither process disturbs the other (rule 13)."""
    with closing(open_file(sqlite_path)) as file:
        mine = file.write(id)

        def in_child() -> None:
            assert file.write(id) != mine
            file.write(lambda c: c.execute("INSERT INTO checkpoints (key) VALUES ('c')").close())
            file.close()

        _fork(in_child)

        assert file.write(id) == mine
        assert file.fetch("SELECT key FROM checkpoints", ()) == ("c",)


def _fork(work: Callable[[], None]) -> None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
