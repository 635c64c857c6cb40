"""A process stands still, as for a long pause of its machine, and goes on as if nothing were.

Others have used its agents meanwhile.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.kit import Scripted, running, saved_count
from tests.processes import PATIENCE, barrier, child
from tests.proof.tally import Tally
from torpor import ConflictDetected, Runtime
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage

SHARED = ["sqlite", "postgresql"]


class Frozen(Tally, kind="tally"):
    """Can be stopped in the middle of a turn."""

    def add_slowly(self, gate: Gate) -> int:
        """Count one, and stand still before the end of the turn."""
        number = self.add()
        gate.pass_once()
        return number


class Lazy(Tally, durability="hibernate", kind="tally"):
    """Is saved when it hibernates."""


class Gate:
    """Has a turn say that it has begun, and wait for another process; once."""

    def __init__(self, reports: Connection, barrier: Barrier) -> None:
        self._reports = reports
        self._barrier = barrier
        self._passed = False

    def pass_once(self) -> None:
        """Wait, unless this turn is being run again."""
        if not self._passed:
            self._passed = True
            self._reports.send("in the turn")
            self._barrier.wait(PATIENCE)


def add_twice(url: str, go_on: Barrier, reports: Connection) -> None:
    """Count, then count in a turn that is frozen; report the second number."""
    with Runtime(url, timeout=PATIENCE) as runtime:
        tally = runtime.get(Frozen, "a")
        tally.ask(Frozen.add)
        reports.send(tally.ask(Frozen.add_slowly, Gate(reports, go_on)))


def answer_before_saving(url: str, go_on: Barrier, reports: Connection) -> None:
    """Count thrice without saving it, be frozen, then hibernate; report what that lost."""
    with Runtime(url) as runtime:
        tally = runtime.get(Lazy, "a")
        for _ in range(3):
            tally.ask(Lazy.add)
        lost: list[int] = []
        runtime.listen(lambda event: lost.append(event.lost_turns), ConflictDetected)
        Gate(reports, go_on).pass_once()
        tally.hibernate()
        reports.send(lost)


@contextmanager
def frozen(job: Callable[..., None], url: str) -> Generator[Callable[[], Any]]:
    """Run ``job`` until it is in its turn, and freeze its process; yield what thaws that.

    It returns what the process reports then.
    """
    go_on = barrier(2)
    with child(job, url, go_on) as (process, reports):
        assert reports.poll(PATIENCE), "the process did not get so far"
        assert reports.recv() == "in the turn"
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)

        def thaw() -> Any:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGCONT)
            go_on.wait(PATIENCE)
            assert reports.poll(PATIENCE), "the process did not go on"
            return reports.recv()

        yield thaw


@pytest.mark.parametrize("url", SHARED, indirect=True)
def test_a_frozen_turn_overwrites_nothing(url: str) -> None:
    """Its copy is stale by now: the turn is run again, on what others left (HC-6)."""
    open_storage(url).close()
    with frozen(add_twice, url) as thaw, Runtime(url) as runtime:
        tally = runtime.get(Tally, "a")
        assert [tally.ask(Tally.add) for _ in range(3)] == [2, 3, 4]

        assert thaw() == 5

        assert tally.options(fresh=True).ask(Tally.history) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("url", SHARED, indirect=True)
def test_a_late_write_brings_nobody_back(url: str) -> None:
    """Who was deleted while a turn of his stood still is a fresh agent to it (HC-6, HC-30)."""
    open_storage(url).close()
    with frozen(add_twice, url) as thaw, Runtime(url) as runtime:
        tally = runtime.get(Tally, "a")
        tally.delete()

        assert thaw() == 1

        assert tally.ask(Tally.history) == [1]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_was_answered_unsaved_is_dropped_and_told(url: str) -> None:
    """A zombie whose turns were not saved does not put them over newer ones (HC-6, HC-33)."""
    open_storage(url).close()
    with frozen(answer_before_saving, url) as thaw, Runtime(url) as runtime:
        tally = runtime.get(Tally, "a")
        assert tally.ask(Tally.add) == 1

        assert thaw() == [3]

        assert tally.options(fresh=True).ask(Tally.history) == [1]


def test_a_dirty_agent_that_another_process_takes_over(
    ticking: Runtime, storage: FaultyStorage, memory: MemoryStorage
) -> None:
    """Unsaved turns are not seen there, nor answered here, and come after what it did (HC-33)."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add)
    with running(memory) as other:
        with storage.hang_next("commit") as hang:
            replies = [agent.submit(Scripted.add)]
            assert hang.entered.wait(PATIENCE)
            replies += [agent.submit(Scripted.add) for _ in range(2)]

            assert other.get(Scripted, "a").ask(Scripted.add, 10) == 11
            assert not any(reply.done for reply in replies)

        assert [reply.get(timeout=PATIENCE) for reply in replies] == [12, 13, 14]
    assert saved_count(memory, agent) == 14
