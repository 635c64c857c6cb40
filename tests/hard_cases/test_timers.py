"""Schedules beside an agent that is busy, and under a clock that is set."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# A script may be any callable.

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.lifecycle.kit import Gate, LifeClock, Scripted, Watch, result, running
from tests.runtime.kit import eventually
from tests.schedules.kit import Planner, plan
from torpor import CallTimeoutError, Runtime, ScheduleFired

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage.memory import MemoryStorage

HOUR = 3600.0


class Busy(Planner):
    """Takes its time: stands at a gate before it rings, or before it cancels."""

    gate: ClassVar[Gate]

    def ring(self, text: str = "ring") -> None:
        """Ring, later."""
        self.gate.pass_through()
        super().ring(text)

    def cancel_later(self, name: str) -> bool:
        """Cancel a schedule at the end of a long turn."""
        self.gate.pass_through()
        return self.cancel_schedule(name)

    def plan_against_itself(self) -> None:
        """Plan two calls for the same moment, the first of which cancels the second."""
        self.schedule(Busy.cancel_later, "job", after=10)
        self.schedule(Busy.ring, after=10, id="job")


@pytest.fixture(autouse=True)
def gate() -> Iterator[Gate]:
    """Return the gate of those who are busy."""
    Planner.ticks.clear()
    Busy.gate = Gate()
    yield Busy.gate
    Busy.gate.open()


@pytest.fixture
def planning(memory: MemoryStorage, clock: LifeClock) -> Iterator[Runtime]:
    """Return a runtime that also looks into the storage for what is due, every 2 s."""
    with running(memory, clock=clock, idle_timeout=None) as runtime:
        yield runtime


def ticks() -> list[str]:
    """Return the ids of the ticks that were begun."""
    return [tick.id for tick in Planner.ticks]


def test_a_slow_agent_delays_nobody_elses_ticks(
    planning: Runtime, clock: LifeClock, gate: Gate
) -> None:
    """While the handler of one tick does not end, other agents' come on time (HC-31)."""
    watch = Watch(planning)
    busy, punctual = planning.get(Busy, "a"), planning.get(Planner, "b")
    busy.ask(Busy.plan, {"after": 10})
    plan(punctual, "x", every=10)
    clock.advance(10)
    gate.wait_for_entry()
    for count in (1, 2, 3):
        watch.wait(ScheduleFired, count)
        clock.advance(10)

    assert {event.agent for event in watch.wait(ScheduleFired, 4)} == {punctual.address}
    gate.open()
    eventually(lambda: busy.address in [event.agent for event in watch.of(ScheduleFired)])


def test_a_tick_that_waits_behind_its_cancellation_is_not_run(
    planning: Runtime, clock: LifeClock, gate: Gate
) -> None:
    """It was due and in the mailbox already; whoever cancelled it hears of it no more (HC-31)."""
    busy = planning.get(Busy, "a").options(timeout=None)
    busy.ask(Busy.plan, {"after": 10, "id": "job"})
    cancelled = busy.submit(Busy.cancel_later, "job")
    gate.wait_for_entry()
    clock.advance(10)
    eventually(lambda: busy.status().waiting > 0)
    gate.open()

    assert cancelled.get() is True
    assert busy.ask(Busy.rung) == []
    assert ticks() == []


def test_a_tick_that_another_one_cancels_is_not_run(
    planning: Runtime, clock: LifeClock, gate: Gate
) -> None:
    """Both were due and taken up; the second finds that nobody wants it any more (HC-31)."""
    watch = Watch(planning)
    busy = planning.get(Busy, "a").options(timeout=None)
    busy.ask(Busy.plan_against_itself)
    clock.advance(10)
    gate.wait_for_entry()
    gate.open()
    watch.wait(ScheduleFired)

    assert busy.ask(Busy.rung) == []
    assert ticks() == []


def test_a_clock_that_is_set_forward_makes_ticks_due(planning: Runtime, clock: LifeClock) -> None:
    """The next look finds them, though hardly any time has passed; each is run once (HC-19)."""
    agent = planning.get(Planner, "a")
    plan(agent, "x", after=HOUR, id="once")
    clock.set_time(clock.time() + HOUR)
    clock.advance(2)
    eventually(lambda: agent.ask(Planner.rung) == ["x"])

    clock.pass_time(2 * HOUR)  # now the time comes for which the process had set its alarm

    assert agent.ask(Planner.rung) == ["x"]
    assert len(ticks()) == 1


def test_a_clock_that_is_set_back_repeats_no_tick(planning: Runtime, clock: LifeClock) -> None:
    """A time that comes twice brings its tick once; then the schedule goes on (HC-17, HC-19)."""
    watch = Watch(planning)
    agent = planning.get(Planner, "a")
    plan(agent, every=10, id="job")
    clock.advance(10)
    watch.wait(ScheduleFired)

    clock.set_time(clock.time() - HOUR)
    for _ in range(3):
        clock.pass_time(10)
    agent.ask(Planner.rung)
    assert len(ticks()) == 1
    clock.advance(HOUR - 20)

    watch.wait(ScheduleFired, 2)
    assert ticks() == ["job@2023-11-14T22:13:30+00:00", "job@2023-11-14T22:13:40+00:00"]


@pytest.mark.parametrize(("step", "seconds"), [(1e9, 4), (-1e9, 5)])
def test_timeouts_do_not_hear_of_the_time_of_day(
    planning: Runtime, clock: LifeClock, gate: Gate, step: float, seconds: float
) -> None:
    """Whoever sets the clock ends no call early, and lets none wait for ever (HC-19)."""
    agent = planning.get(Scripted, "a")
    agent.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    reply = agent.options(timeout=5).submit(Scripted.add)

    clock.set_time(clock.time() + step)
    clock.pass_time(seconds)
    gate.open()

    if seconds < 5:
        assert result(reply) == 1
    else:
        with pytest.raises(CallTimeoutError, match="not_run"):
            result(reply)
