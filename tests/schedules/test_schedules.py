"""What an agent plans is saved with the turn that planned it, and happens once."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from tests.runtime.kit import eventually
from tests.schedules.kit import Planner, plan, stored, wait_until_stored
from torpor import (
    Agent,
    AgentDefinitionError,
    ConfigurationError,
    Hibernated,
    Runtime,
    ScheduleError,
    ScheduleFailed,
    ScheduleFired,
    ScheduleMissed,
    UnserializableError,
)
from torpor.schedules import MAX_ATTEMPTS, Schedule

if TYPE_CHECKING:
    from tests.runtime.kit import Watch
    from tests.runtime.quiet import QuietClock
    from torpor.storage import Storage


@pytest.fixture(autouse=True)
def _all_is_well() -> None:
    Planner.broken = False
    Planner.ticks.clear()


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


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"after": 1, "at": 2},
        {"after": 1, "cron": "@daily"},
        {"every": 0},
        {"every": -5},
        {"every": 5, "cron": "@daily"},
        {"after": "soon"},
        {"after": float("nan")},
        {"cron": "61 * * * *"},
        {"cron": 5},
        {"cron": "@daily", "tz": "Mars/Olympus"},
        {"at": dt.datetime(2030, 1, 1)},  # noqa: DTZ001 - which is the mistake
        {"after": 1, "misfire": "never"},
    ],
    ids=str,
)
def test_what_says_no_time_is_refused(memory: Storage, when: dict[str, Any]) -> None:
    """One typed error, and the agent goes on (CR-4)."""
    with Runtime(memory) as runtime:
        agent = runtime.get(Planner, "a")
        with pytest.raises(ScheduleError):
            plan(agent, **when)
        plan(agent, after=1)


def test_a_local_date_in_a_zone(memory: Storage) -> None:
    """``at`` without a zone of its own is meant in ``tz``."""
    with Runtime(memory) as runtime:
        agent = runtime.get(Planner, "a")
        plan(agent, at=dt.datetime(2040, 7, 1, 9), tz="Europe/Berlin")  # noqa: DTZ001
        expected = dt.datetime(2040, 7, 1, 7, tzinfo=dt.UTC).timestamp()
        assert [schedule.next_at for schedule in agent.schedules()] == [expected]


def test_arguments_must_be_durable(memory: Storage) -> None:
    """What has no JSON form can't be planned with (CR-5)."""

    class Odd(Agent):
        """Takes anything."""

        def plan(self) -> None:
            """Plan with an object."""
            self.schedule(Odd.take, object(), after=1)

        def take(self, value: object) -> None:
            """Take anything."""

    with Runtime(memory) as runtime, pytest.raises(UnserializableError, match="take"):
        runtime.get(Odd, "a").ask(Odd.plan)


def test_who_is_never_saved_has_no_schedules(memory: Storage) -> None:
    """It would be forgotten with its first hibernation."""
    with (
        Runtime(memory, durability="none") as runtime,
        pytest.raises(ConfigurationError, match="none"),
    ):
        plan(runtime.get(Planner, "a"), after=1)


def test_only_the_running_turn_plans() -> None:
    """An agent object that lives in no runtime, or outside of its turn, has nowhere to note it."""
    with pytest.raises(ConfigurationError, match="inside its own turns"):
        Planner().plan({"after": 1})


def test_the_names_are_reserved() -> None:
    """A field or method of that name would hide them: told when the class is defined."""
    with pytest.raises(AgentDefinitionError, match="schedule is reserved"):

        class Hides(Agent):  # pyright: ignore[reportUnusedClass] - defining it is the mistake
            """Has a method of a reserved name."""

            def schedule(self) -> None:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
                """Hide."""


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


def test_ten_thousand_schedules_are_no_ten_thousand_steps(
    clock: QuietClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle tick reads what is due by the index, and nothing else: no thread, no scan."""
    from torpor.storage.faulty import FaultyStorage  # noqa: PLC0415
    from torpor.storage.memory import MemoryStorage  # noqa: PLC0415

    count = 10_000
    rows: list[int] = []
    with MemoryStorage() as memory, FaultyStorage(memory) as storage:
        section = '{"$torpor":{"v":1,"schedules":[%s]},"rings":[]}'
        for n in range(count):
            at = clock.time() + 1000 + n
            schedule = f'{{"id":"job","method":"ring","next_at":{at},"every":1e6}}'
            storage.put_checkpoint(f"planner/{n}", 0, kind="planner", wake_at=at)
            _put(storage, f"planner/{n}", section % schedule, at)
        inner = storage.list_due

        def counted(before: float, limit: int = 100) -> Any:
            due = inner(before, limit)
            rows.append(len(due))
            return due

        monkeypatch.setattr(storage, "list_due", counted)
        storage.calls.clear()
        with Runtime(storage, clock=clock, agents=[Planner]) as runtime:
            for polls in range(1, 6):
                eventually(lambda count=polls: len(rows) >= count)  # type: ignore[misc]
                clock.settle()
                clock.advance(2)
            assert storage.calls.keys() == {"list_due"}
            assert sum(rows) == 0
            assert runtime.stats().workers <= 2
            clock.advance(1000)
            eventually(lambda: runtime.stats().turns >= 11)
        assert sum(rows) < 100


def _put(storage: Any, key: str, data: str, at: float) -> None:
    from torpor.storage import Change, Put  # noqa: PLC0415

    change = Change(key=key, put=Put(data=data, kind="planner"), wake_at=at, at=at)
    [saved] = storage.commit([change])
    assert saved.rev


def test_next_ticks_are_computed_not_counted() -> None:
    """A schedule of every second that slept for a year is moved on in one step."""
    schedule = Schedule(id="a", method="ring", next_at=0.0, every=1.0)
    planned = schedule.plan(31_536_000.5)
    assert planned.after is not None
    assert (planned.missed, planned.after.next_at) == (31_536_000, 31_536_001.0)
