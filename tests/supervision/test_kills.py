"""Processes whose agents fail are killed at random moments: a pause that was told stays."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.processes import PATIENCE, child
from torpor import Agent, AgentPausedError, Runtime, thaw
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

AGENTS = 8


class Worker(Agent, kind="supervised", supervision="stop"):
    """Counts, and fails when it is told to."""

    count: int = 0

    def add(self) -> int:
        """Count one."""
        self.count += 1
        return self.count

    def fail(self) -> None:
        """Count one, and fail: the count is taken back."""
        self.count += 1
        raise LookupError(self.count)


full_size = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("backend", "kills"),
    [
        ("sqlite", 5),
        ("postgresql", 5),
        pytest.param("sqlite", 30, marks=full_size),
        pytest.param("postgresql", 10, marks=full_size),
    ],
)
def test_pauses_survive_kills(empty_place: Callable[[str], str], backend: str, kills: int) -> None:
    """Who failed refuses calls after a SIGKILL too; who did not goes on; nothing is counted twice.

    The last call of each life may or may not have been carried out: nobody was told.
    """
    url = empty_place(backend)
    chance = random.Random(f"supervision {backend} {kills}")
    counts = dict.fromkeys(map(str, range(AGENTS)), 0)
    for _ in range(kills):
        told, begun = _live_and_die(url, chance)
        paused: set[str] = set()
        for key, came in told:
            if isinstance(came, int):
                counts[key] = came
            elif came == "paused":
                paused.add(key)
            else:
                paused.discard(key)
        with Runtime(url) as runtime:
            for key in counts:
                worker = runtime.get(Worker, key)
                try:
                    count = worker.ask(Worker.add)
                except AgentPausedError:
                    assert key in paused or key == begun, f"{key} did not fail"
                    assert worker.resume()
                    count = worker.ask(Worker.add)
                else:
                    assert key not in paused or key == begun, f"the pause of {key} is gone"
                assert count in {counts[key] + 1, counts[key] + 1 + (key == begun)}
                counts[key] = count
    with open_storage(url) as storage:
        for key, count in counts.items():
            worker_copy = thaw(storage, Worker, key)
            assert worker_copy is not None
            assert worker_copy.count == count


def _live_and_die(
    url: str, chance: random.Random
) -> tuple[list[tuple[str, int | str]], str | None]:
    """Kill a process at a random moment.

    Return what it told (a count, "paused" or "resumed"), and whose call was under way.
    """
    told: list[tuple[str, int | str]] = []
    begun: str | None = None

    def take() -> None:
        nonlocal begun
        event = receiver.recv()
        if isinstance(event, str):
            begun = event
        else:
            begun = None
            told.append(event)

    with child(work_until_killed, url, chance.random()) as (process, receiver):
        for _ in range(chance.randrange(1, 60)):
            assert receiver.poll(PATIENCE), "the process did nothing"
            take()
        process.join(chance.uniform(0, 0.005))
        process.kill()
        with suppress(EOFError, OSError):  # it may be killed while it tells
            while True:
                take()
    return told, begun


def work_until_killed(url: str, seed: float, reports: Connection) -> None:
    """Call one agent after the other, for ever; some calls fail. Tell before and after each."""
    chance = random.Random(seed)
    paused: set[str] = set()
    with Runtime(url, idle_timeout=0.001) as runtime:
        while True:
            key = str(chance.randrange(AGENTS))
            worker = runtime.get(Worker, key)
            reports.send(key)
            if key in paused:
                worker.resume()
                paused.discard(key)
                reports.send((key, "resumed"))
            elif chance.random() < 0.3 and len(paused) < AGENTS - 1:
                try:
                    worker.ask(Worker.fail)
                except LookupError:
                    paused.add(key)
                    reports.send((key, "paused"))
            else:
                reports.send((key, worker.ask(Worker.add)))
