"""Processes whose agents have schedules are killed: no tick is forgotten, none is doubled."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.processes import PATIENCE, child
from tests.runtime.kit import eventually
from torpor import Agent, Runtime, ScheduleFired, current_tick, thaw
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from torpor.storage import Storage

AGENTS = 8
EVERY = 0.125
"""A number of seconds that is added up without rounding."""

full_size = [pytest.mark.slow, pytest.mark.timeout(900)]


class Bell(Agent):
    """Rings by a schedule, and keeps the time of each tick in its thread."""

    count: int = 0

    def hang_up(self) -> None:
        """Plan the rings, unless they are planned."""
        if not self.schedules():
            self.schedule(Bell.ring, every=EVERY, misfire="all", id="ring")

    def ring(self) -> None:
        """Ring."""
        tick = current_tick()
        assert tick is not None
        self.count += 1
        self.thread.append("ring", tick.due_at)

    def take_down(self) -> None:
        """Ring no more."""
        self.cancel_schedule("ring")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("backend", "kills"),
    [
        ("sqlite", 5),
        ("postgresql", 2),
        pytest.param("sqlite", 30, marks=full_size),
        pytest.param("postgresql", 10, marks=full_size),
    ],
)
def test_schedules_survive_kills(
    empty_place: Callable[[str], str], backend: str, kills: int
) -> None:
    """After SIGKILLs every tick has been run once, in order, and it goes on (HC-16, HC-17)."""
    url = empty_place(backend)
    chance = random.Random(f"schedules {backend} {kills}")
    rung = 0
    for _ in range(kills):
        rung += _live_and_die(url, chance)
    with open_storage(url) as storage:
        keys = [str(n) for n in range(AGENTS)]
        killed_at = _rings(storage, keys)
        with Runtime(storage, agents=[Bell], wake_interval=0.1) as runtime:
            # Nobody calls the agents: they come by themselves to where they would have been.
            eventually(
                lambda: all(
                    now > before
                    for now, before in zip(_rings(storage, keys), killed_at, strict=True)
                )
            )
            for key in keys:
                runtime.get(Bell, key).ask(Bell.take_down)
        for key in keys:
            bell = thaw(storage, Bell, key)
            assert bell is not None
            times = [entry.payload for entry in bell.thread.entries()]
            assert times == [times[0] + n * EVERY for n in range(len(times))]
            assert bell.count == len(times)
        assert sum(_rings(storage, keys)) >= rung


def _rings(storage: Storage, keys: list[str]) -> list[int]:
    bells = [thaw(storage, Bell, key) for key in keys]
    return [bell.count if bell is not None else 0 for bell in bells]


def _live_and_die(url: str, chance: random.Random) -> int:
    """Kill a process at a random moment; return how many ticks it said were done."""
    told = 0
    with child(ring_until_killed, url) as (process, receiver):
        for _ in range(chance.randrange(AGENTS + 1, 10 * AGENTS)):
            assert receiver.poll(PATIENCE), "nothing rang"
            told += receiver.recv()
        process.join(chance.uniform(0, EVERY))
        process.kill()
        with suppress(EOFError, OSError):  # it may be killed while it tells
            while True:
                told += receiver.recv()
    return told


def ring_until_killed(url: str, reports: Connection) -> None:
    """Let agents ring by their schedules alone; report each tick that is durable."""
    with Runtime(url, agents=[Bell], idle_timeout=0.05, wake_interval=0.05) as runtime:
        for n in range(AGENTS):
            runtime.get(Bell, str(n)).ask(Bell.hang_up)
        runtime.listen(lambda _: reports.send(1), ScheduleFired)
        threading.Event().wait()
