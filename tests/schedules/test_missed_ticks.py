"""Ticks whose time passed while nobody was there to run them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from tests.schedules.kit import Planner, plan, wait_until_stored
from torpor import Runtime, ScheduleFired, ScheduleMissed

if TYPE_CHECKING:
    from tests.runtime.kit import Watch
    from tests.runtime.quiet import QuietClock
    from torpor.storage import Storage


@pytest.mark.parametrize(
    ("misfire", "rings", "missed"), [("skip", 0, 10), ("once", 1, 9), ("all", 10, 0)]
)
def test_what_was_missed(
    storage: Storage, clock: QuietClock, misfire: str, rings: int, missed: int
) -> None:
    """After a downtime ticks are skipped, run as one, or all run (CR-18, W-17, HC-18)."""
    with Runtime(storage, clock=clock) as first:
        plan(first.get(Planner, "a"), every=100, misfire=misfire, id="job")
    clock.advance(1090)
    with Runtime(storage, clock=clock, agents=[Planner]) as second:
        agent = second.get(Planner, "a")
        wait_until_stored(second, agent, next_at=1_700_001_100)
        assert len(agent.ask(Planner.rung)) == rings
        if rings:
            assert Planner.ticks[0].missed == missed
        assert len({tick.id for tick in Planner.ticks}) == rings


def test_what_was_skipped_is_told(runtime: Runtime, clock: QuietClock, watch: Watch) -> None:
    """An event says how many ticks nobody runs."""
    agent = runtime.get(Planner, "a")
    plan(agent, every=100, misfire="skip", id="job")
    agent.hibernate()
    clock.advance(290)
    assert watch.wait(ScheduleMissed) == [ScheduleMissed("planner/a", "job", 2)]


def test_a_one_shot_of_the_past_is_run(runtime: Runtime, watch: Watch) -> None:
    """``at`` a time that has passed means now (HC-18)."""
    agent = runtime.get(Planner, "a")
    plan(agent, "x", at=dt.datetime(2001, 1, 1, tzinfo=dt.UTC))
    watch.wait(ScheduleFired)
    assert agent.ask(Planner.rung) == ["x"]
