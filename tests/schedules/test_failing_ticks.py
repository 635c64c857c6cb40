"""Ticks that fail: tried again later and later, and kept from disturbing others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.runtime.kit import eventually
from tests.schedules.kit import Planner, plan, stored, wait_until_stored
from torpor import Agent, Runtime, ScheduleError, ScheduleFailed, ScheduleFired
from torpor.schedules import MAX_ATTEMPTS

if TYPE_CHECKING:
    from tests.runtime.kit import Watch
    from tests.runtime.quiet import QuietClock
    from torpor.storage import Storage


def test_a_failing_job_backs_off(runtime: Runtime, clock: QuietClock, watch: Watch) -> None:
    """Its turn is rolled back, and the same tick tried again later and later (CR-15, W-18)."""
    agent = runtime.get(Planner, "a")
    Planner.broken = True
    plan(agent, "x", after=1, id="job")
    clock.advance(1)
    for attempt, wait in enumerate((1, 2, 4), start=1):
        failure = watch.wait(ScheduleFailed, attempt)[-1]
        assert (failure.attempt, failure.retry_at) == (attempt, clock.time() + wait)
        wait_until_stored(runtime, agent, retry_at=failure.retry_at)
        clock.advance(wait)
    watch.wait(ScheduleFailed, 4)
    Planner.broken = False
    wait_until_stored(runtime, agent, failures=4)
    clock.advance(8)
    watch.wait(ScheduleFired)
    assert agent.ask(Planner.rung) == ["x"]
    assert len({tick.id for tick in Planner.ticks}) == 1
    assert [tick.attempt for tick in Planner.ticks] == [1, 2, 3, 4, 5]


def test_a_failing_job_disturbs_no_other(runtime: Runtime, clock: QuietClock, watch: Watch) -> None:
    """Other jobs of the same agent keep their times (CR-15, CR-19)."""
    agent = runtime.get(Planner, "a")
    plan(agent, after=1, id="bad")
    agent.ask(Planner.plan_others)
    Planner.broken = True
    clock.advance(1)
    watch.wait(ScheduleFailed)
    watch.wait(ScheduleFired)
    assert agent.ask(Planner.rung) == ["async"]


@pytest.mark.parametrize("recurring", [False, True])
def test_the_last_attempt(memory: Storage, clock: QuietClock, *, recurring: bool) -> None:
    """A recurring job goes on with its next tick; a one-shot is kept as a dead letter."""
    with Runtime(memory, clock=clock) as runtime:
        clock.watch(runtime)
        agent = runtime.get(Planner, "a")
        Planner.broken = True
        when: dict[str, Any] = {"every": 3600} if recurring else {"after": 3600}
        plan(agent, "x", id="job", **when)
        clock.advance(3600)
        for failures in range(1, MAX_ATTEMPTS):
            wait_until_stored(runtime, agent, failures=failures)
            clock.advance(min(2 ** (failures - 1), 300))
        if recurring:
            wait_until_stored(runtime, agent, next_at=1_700_007_200)
            assert agent.dead_letters() == []
            return
        eventually(lambda: stored(memory, agent) == [])
        [letter] = agent.dead_letters()
        assert letter.payload == {"method": "ring", "args": ["x"]}
        assert list(runtime.dead_letters()) == [("planner/a", letter)]
        Planner.broken = False
        assert agent.replay_dead_letters() == 1
        eventually(lambda: agent.ask(Planner.rung) == ["x"])


def test_a_zone_that_is_gone_for_now(
    memory: Storage, clock: QuietClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule that can't be computed is kept, and asked again (W-16, CR-12, CR-16)."""
    with Runtime(memory, clock=clock) as runtime:
        clock.watch(runtime)
        agent = runtime.get(Planner, "a")
        plan(agent, "x", cron="@hourly", tz="Europe/Berlin", id="job")

        def gone(*_: object) -> float:
            msg = "no time zone is known here"
            raise ScheduleError(msg)

        with monkeypatch.context() as patch:
            patch.setattr("torpor.schedules.next_cron", gone)
            clock.advance(3600)
            eventually(lambda: "retry_at" in stored(memory, agent)[0])
        assert agent.ask(Planner.rung) == []
        clock.advance(60)
        eventually(lambda: agent.ask(Planner.rung) == ["x"])


def test_a_method_that_is_gone_fails_and_is_kept(memory: Storage, clock: QuietClock) -> None:
    """A tick whose method no longer exists is a failure like others; siblings go on (CR-11)."""

    class Now(Agent, kind="planner"):
        """A later version of the class."""

        rings: list[str] = []  # noqa: RUF012 - pydantic copies it

    with Runtime(memory, clock=clock) as first:
        plan(first.get(Planner, "a"), after=1, id="job")
    clock.advance(1)
    with Runtime(memory, clock=clock, agents=[Now]) as second:
        ref = second.get(Now, "a")
        eventually(lambda: stored(memory, ref)[0].get("failures") == 1)
        assert "UnknownMethodError" in stored(memory, ref)[0]["error"]
