"""Agents on SQL servers: one URL is changed and nothing else."""

from __future__ import annotations

import multiprocessing
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.places.registry import SHARED
from tests.storage.sql_kit import number_connections
from tests.storage.sql_programs import Tally, count_until_killed, hammer
from torpor import Runtime
from torpor.storage.sql import SQLStorage
from torpor.storage.testing.kit import PATIENCE

if TYPE_CHECKING:
    from tests.places.sql import SQLServer

_spawn = multiprocessing.get_context("spawn")

KEYS = [f"tally {number}" for number in range(5)]


@pytest.mark.parametrize("url", SHARED, indirect=True)
def test_same_program_on_each_database(url: str) -> None:
    """Agents count, hibernate, and go on in another runtime, whatever the URL names."""
    for first in (1, 3):
        with Runtime(url, always_thaw=True) as runtime:
            tally = runtime.get(Tally, "é one")
            assert tally.ask(Tally.add) == first
            tally.tell(Tally.add)
            assert tally.ask(Tally.history) == list(range(1, first + 2))
        with Runtime(url) as runtime:
            assert runtime.get(Tally, "É one").ask(Tally.history) == []


def test_two_processes_on_the_same_agents(sql_server: SQLServer) -> None:
    """They conflict, and both are told what really happened: the sums are right (rule 13)."""
    begin = _spawn.Barrier(2)
    told: list[Any] = []
    processes: list[Any] = []
    for _ in range(2):
        receiver, sender = _spawn.Pipe(duplex=False)
        arguments = (sql_server.url, KEYS, 20, begin, sender)
        processes.append(_spawn.Process(target=hammer, args=arguments, daemon=True))
        told.append(receiver)
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(PATIENCE)
        assert [process.exitcode for process in processes] == [0, 0]
        assert sum(receiver.recv() for receiver in told) > 0
    finally:
        for process in processes:
            process.kill()

    with Runtime(sql_server.url) as runtime:
        for key in KEYS:
            assert runtime.get(Tally, key).ask(Tally.history) == list(range(1, 41))


def test_killed_processes_lose_nothing_acknowledged(sql_server: SQLServer) -> None:
    """Whenever a process is killed, every acknowledged turn is there once (rule 1, rule 3)."""
    chance = random.Random(20130101)
    counted = dict.fromkeys(KEYS, 0)
    for _ in range(3):
        for key, number in _killed_after(chance.uniform(0.0, 0.2), sql_server.url):
            assert number == counted[key] + 1
            counted[key] = number

        with Runtime(sql_server.url) as runtime:
            for key in KEYS:
                history = runtime.get(Tally, key).ask(Tally.history)
                assert history == list(range(1, len(history) + 1))
                assert counted[key] <= len(history) <= counted[key] + 1
                counted[key] = len(history)


def _killed_after(seconds: float, url: str) -> list[tuple[str, int]]:
    """Kill a counting process so long after its first turn; return what it told of."""
    receiver, sender = _spawn.Pipe(duplex=False)
    process = _spawn.Process(target=count_until_killed, args=(url, KEYS, sender), daemon=True)
    process.start()
    sender.close()
    told: list[tuple[str, int]] = []
    try:
        assert receiver.poll(PATIENCE), "the process counted nothing"
        process.join(seconds)
        assert process.is_alive()
    finally:
        process.kill()
        process.join(PATIENCE)
    with receiver, suppress(EOFError, OSError):  # it may have been killed while it was telling
        while True:
            told.append(receiver.recv())
    return told


def test_hung_up_connections_cost_nothing(sql_server: SQLServer) -> None:
    """The server closes every connection, again and again: agents go on (rule 3, rule 8)."""
    acknowledged = dict.fromkeys(KEYS, 0)
    with SQLStorage.from_url(sql_server.url) as storage, Runtime(storage) as runtime:
        storage.engine.dispose()
        connections = number_connections(storage)
        for round_ in range(8):
            replies = {
                key: [runtime.get(Tally, key).submit(Tally.add) for _ in range(5)] for key in KEYS
            }
            sql_server.hang_up(connections)
            for key, some in replies.items():
                numbers = [reply.get() for reply in some]
                assert numbers == list(range(5 * round_ + 1, 5 * round_ + 6))
                acknowledged[key] = numbers[-1]
        assert len(connections) >= 4

    with Runtime(sql_server.url) as runtime:
        for key, number in acknowledged.items():
            assert runtime.get(Tally, key).ask(Tally.history) == list(range(1, number + 1))
