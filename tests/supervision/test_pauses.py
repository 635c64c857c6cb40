"""A paused agent costs nothing while it is paused, and goes on when the pause is over."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.processes import PATIENCE
from tests.runtime.kit import eventually
from torpor import Agent, AgentRef, Runtime, ScheduleFired

if TYPE_CHECKING:
    from tests.runtime.quiet import QuietClock
    from torpor.storage import Storage

WINDOW = 60
LONG = 1e6


class Worker(Agent, kind="worker"):
    """Fails when told to, and plans its work."""

    done: int = 0

    def work(self) -> None:
        """Do something."""
        self.done += 1

    def read(self) -> int:
        """Return how often something was done."""
        return self.done

    def fail(self) -> None:
        """Fail."""
        raise LookupError

    def plan(self) -> None:
        """Plan some work."""
        self.schedule(Worker.work, after=1)


W = TypeVar("W", bound=Worker)


class Stopped(Worker, kind="stopped", supervision="stop"):
    """Is paused until it is resumed."""


class Resting(Worker, kind="resting", supervision="restart", max_restarts=0, restart_window=WINDOW):
    """Is paused for a while."""


def pause(agent: AgentRef[W]) -> None:
    """Have an agent fail that does nothing afterwards."""
    with pytest.raises(LookupError):
        agent.ask(Worker.fail)


def due(storage: Storage, clock: QuietClock) -> list[float]:
    """Return in how many seconds who is due, once nothing is under way."""
    clock.advance(0)
    return [item.wake_at - clock.time() for item in storage.list_due(clock.time() + LONG)]


def test_mail_waits_for_the_end_of_a_pause(runtime: Runtime, clock: QuietClock) -> None:
    """It is not looked at again and again meanwhile, and applied when the pause is over."""
    agent = runtime.get(Resting, "a")
    pause(agent)
    agent.send(Resting.work)
    assert due(runtime.storage, clock) == [WINDOW]

    clock.advance(WINDOW)
    eventually(lambda: agent.ask(Resting.read) == 1)


def test_mail_waits_for_whoever_resumes(runtime: Runtime, clock: QuietClock) -> None:
    """Without an end it is looked at now and then; who resumes the agent has it applied at once."""
    agent = runtime.get(Stopped, "a")
    pause(agent)
    agent.send(Stopped.work)
    for _ in range(3):
        assert due(runtime.storage, clock) == [300]
        clock.advance(300)

    assert agent.resume()
    eventually(lambda: agent.ask(Stopped.read) == 1)


def test_schedules_wait_for_the_end_of_a_pause(runtime: Runtime, clock: QuietClock) -> None:
    """Nobody wakes the agent for what it may not do; then it does it."""
    fired = threading.Event()
    runtime.listen(lambda _: fired.set(), ScheduleFired)
    agent = runtime.get(Resting, "a")
    agent.ask(Resting.plan)
    pause(agent)
    assert due(runtime.storage, clock) == [WINDOW]

    clock.advance(WINDOW)
    assert fired.wait(PATIENCE)


def test_schedules_wait_for_whoever_resumes(runtime: Runtime, clock: QuietClock) -> None:
    """An agent that is paused for good is due no more; once it is resumed it is again."""
    fired = threading.Event()
    runtime.listen(lambda _: fired.set(), ScheduleFired)
    agent = runtime.get(Stopped, "a")
    agent.ask(Stopped.plan)
    pause(agent)
    clock.advance(WINDOW)
    assert due(runtime.storage, clock) == []

    assert agent.resume()
    assert fired.wait(PATIENCE)


def test_another_process_lets_it_wait_too(storage: Storage, clock: QuietClock) -> None:
    """A new runtime leaves the mail and the schedules of a paused agent until it is resumed."""
    with Runtime(storage, clock=clock) as runtime:
        agent = runtime.get(Stopped, "a")
        agent.ask(Stopped.plan)
        pause(agent)
        agent.send(Stopped.work)
    with Runtime(storage, clock=clock, agents=[Stopped]) as runtime:
        clock.watch(runtime)
        eventually(lambda: due(storage, clock) == [300])
        clock.advance(WINDOW)
        again = runtime.get(Stopped, "a")
        assert again.resume()
        eventually(lambda: again.ask(Stopped.read) == 2)
