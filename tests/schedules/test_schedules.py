"""What an agent plans is saved with the turn that planned it, and happens once."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import eventually
from tests.schedules.kit import Planner, plan, stored, wait_until_stored
from torpor import Hibernated, Runtime, ScheduleError, ScheduleFired

if TYPE_CHECKING:
    from tests.runtime.kit import Watch
    from tests.runtime.quiet import QuietClock
    from torpor.storage import Storage


def test_a_call_once(runtime: Runtime, clock: QuietClock, watch: Watch) -> None:
    """``after``: it is made once, and is then no longer planned (CR-24)."""
    agent = runtime.get(Planner, "a")
    plan(agent, "x", after=5)
    clock.advance(4)
    assert agent.ask(Planner.rung) == []

    clock.advance(1)
    watch.wait(ScheduleFired)
    assert agent.ask(Planner.rung) == ["x"]
    assert stored(runtime.storage, agent) == []
    assert runtime.storage.list_due(float("1e12")) == []


def test_a_call_again_and_again(runtime: Runtime, clock: QuietClock, watch: Watch) -> None:
    """``every``: so many seconds apart, each tick with an id of its own (W-18)."""
    agent = runtime.get(Planner, "a")
    plan(agent, every=10, id="job")
    for count in (1, 2, 3):
        clock.advance(10)
        watch.wait(ScheduleFired, count)
    assert [event.tick for event in watch.of(ScheduleFired)] == [
        "job@2023-11-14T22:13:30+00:00",
        "job@2023-11-14T22:13:40+00:00",
        "job@2023-11-14T22:13:50+00:00",
    ]


def test_a_time_of_the_day(runtime: Runtime, clock: QuietClock, watch: Watch) -> None:
    """``cron`` in a time zone: its next local time (CR-2)."""
    agent = runtime.get(Planner, "a")
    plan(agent, cron="0 9 * * *", tz="Asia/Tokyo", id="job")
    at = dt.datetime(2023, 11, 15, 0, 0, tzinfo=dt.UTC).timestamp()
    assert [schedule.next_at for schedule in agent.schedules()] == [at]
    clock.advance(at - clock.time())
    watch.wait(ScheduleFired)
    wait_until_stored(runtime, agent, next_at=at + 86400)


def test_a_local_date_in_a_zone(memory: Storage) -> None:
    """``at`` without a zone of its own is meant in ``tz``."""
    with Runtime(memory) as runtime:
        agent = runtime.get(Planner, "a")
        plan(agent, at=dt.datetime(2040, 7, 1, 9), tz="Europe/Berlin")  # noqa: DTZ001
        expected = dt.datetime(2040, 7, 1, 7, tzinfo=dt.UTC).timestamp()
        assert [schedule.next_at for schedule in agent.schedules()] == [expected]


def test_async_handlers(runtime: Runtime, clock: QuietClock, watch: Watch) -> None:
    """An async method can be planned too."""
    agent = runtime.get(Planner, "a")
    agent.ask(Planner.plan_others)
    clock.advance(1)
    watch.wait(ScheduleFired)
    assert agent.ask(Planner.rung) == ["async"]


def test_plan_and_state_commit_together(runtime: Runtime, clock: QuietClock) -> None:
    """A turn that fails has planned nothing; one that ends has (CR-7, CR-9, HC-16)."""
    agent = runtime.get(Planner, "a")
    with pytest.raises(RuntimeError, match="mind"):
        agent.ask(Planner.plan_and_fail)
    assert stored(runtime.storage, agent) == []

    plan(agent, "x", after=1, id="job")
    assert [schedule["id"] for schedule in stored(runtime.storage, agent)] == ["job"]
    checkpoint = runtime.storage.get_checkpoint(agent.address)
    assert checkpoint is not None
    assert checkpoint.wake_at == clock.time() + 1


def test_a_due_schedule_wakes_a_hibernated_agent(
    runtime: Runtime, clock: QuietClock, watch: Watch
) -> None:
    """Nobody calls it: it is thawed for its tick (W-17, CR-10)."""
    agent = runtime.get(Planner, "a")
    plan(agent, "x", after=100)
    agent.hibernate()
    assert agent.status().state == "asleep"

    clock.advance(100)
    watch.wait(ScheduleFired)
    assert agent.ask(Planner.rung) == ["x"]


def test_schedules_survive_a_restart(storage: Storage, clock: QuietClock) -> None:
    """Another life of the process fires what the first one planned (CR-9, W-11, W-17)."""
    with Runtime(storage, clock=clock) as first:
        plan(first.get(Planner, "a"), "x", after=50)
        plan(first.get(Planner, "b"), "x", after=50, id="job")
        first.get(Planner, "b").ask(Planner.cancel, "job")
    clock.advance(50)
    with Runtime(storage, clock=clock, agents=[Planner]) as second:
        agent = second.get(Planner, "a")
        eventually(lambda: agent.ask(Planner.rung) == ["x"])
        assert second.get(Planner, "b").ask(Planner.rung) == []


def test_due_twice_is_done_once(storage: Storage) -> None:
    """Two processes that both find ticks due: one commit wins, the other finds it done (HC-17)."""
    with (
        Runtime(storage, agents=[Planner], wake_interval=0.01) as one,
        Runtime(storage, agents=[Planner], wake_interval=0.01),
    ):
        agent = one.get(Planner, "a").options(fresh=True)
        plan(agent, "id", every=0.02, misfire="all", id="job")
        eventually(lambda: len(agent.ask(Planner.rung)) >= 10)
        assert agent.cancel_schedule("job")
        rings = agent.ask(Planner.rung)
    times = [dt.datetime.fromisoformat(ring.removeprefix("job@")) for ring in rings]
    steps = {round((b - a).total_seconds(), 3) for a, b in itertools.pairwise(times)}
    assert steps == {0.02}


def test_an_id_is_replaced(runtime: Runtime) -> None:
    """The same id again is the new plan; a wrong one leaves the old (CR-6)."""
    agent, other = runtime.get(Planner, "a"), runtime.get(Planner, "b")
    plan(agent, every=10, id="job")
    plan(other, every=10, id="job")
    plan(agent, every=20, id="job")
    with pytest.raises(ScheduleError):
        plan(agent, cron="nonsense", id="job")
    assert [schedule.every for schedule in agent.schedules()] == [20]
    assert [schedule.every for schedule in other.schedules()] == [10]


def test_cancel(runtime: Runtime, clock: QuietClock) -> None:
    """A cancelled schedule is gone, from inside and outside; an unknown one is no error (CR-8)."""
    agent = runtime.get(Planner, "a")
    plan(agent, after=5, id="one")
    plan(agent, after=6, id="two")
    assert [schedule.id for schedule in agent.ask(Planner.planned)] == ["one", "two"]
    assert agent.ask(Planner.cancel, "one")
    assert agent.cancel_schedule("two")
    assert not agent.ask(Planner.cancel, "one")
    assert not agent.cancel_schedule("two")
    assert not runtime.get(Planner, "nobody").cancel_schedule("two")
    clock.advance(10)
    assert agent.schedules() == []
    assert agent.ask(Planner.rung) == []


def test_ticks_keep_nobody_awake(runtime: Runtime, clock: QuietClock, watch: Watch) -> None:
    """The idle clock goes on through ticks, unless the method keeps its agent awake (HC-13)."""
    quiet, loud = runtime.get(Planner, "quiet"), runtime.get(Planner, "loud")
    plan(quiet, every=25, id="job")
    loud.ask(Planner.plan_loud, 25)
    for count in (2, 4):
        clock.advance(25)
        watch.wait(ScheduleFired, count)
        eventually(lambda: runtime.stats().unsaved == 0)
    clock.advance(10)
    watch.wait(Hibernated)
    assert quiet.status().state == "asleep"
    assert loud.status().state == "live"
