"""Lanes: what agents want of the storage, in batches; one that hangs is left behind."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.kit import PATIENCE, Gate, LifeClock, Scripted, begin, done, result, running
from torpor.lanes import Lane
from torpor.storage.errors import StorageUnavailableError
from torpor.storage.faulty import FaultyStorage
from torpor.workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage.memory import MemoryStorage

DEADLINE = 10.0


class Work:
    """Notes batches and outcomes; a gate holds each batch that contains its item."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.outcomes: list[tuple[str, str | None, BaseException | None]] = []
        self.threads: list[threading.Thread] = []
        self.gates: dict[str, Gate] = {}
        self.errors: dict[str, BaseException] = {}
        self._changed = threading.Condition()

    def do(self, batch: list[str]) -> list[str]:
        """Answer each item with its capital."""
        self.batches.append(list(batch))
        self.threads.append(threading.current_thread())
        for item in batch:
            if item in self.gates:
                self.gates[item].pass_through()
            if item in self.errors:
                raise self.errors[item]
        return [item.upper() for item in batch]

    def done(self, item: str, answer: str | None, error: BaseException | None) -> None:
        """Note an outcome."""
        with self._changed:
            self.outcomes.append((item, answer, error))
            self._changed.notify_all()

    def wait(self, count: int) -> list[tuple[str, str | None, BaseException | None]]:
        """Return all outcomes once there are ``count``."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.outcomes) >= count, PATIENCE)
        return self.outcomes

    def hold(self, item: str) -> Gate:
        """Hold the batch of ``item`` at a gate."""
        gate = self.gates[item] = Gate()
        return gate


@pytest.fixture
def work() -> Iterator[Work]:
    """Return work whose gates are open at the end."""
    work = Work()
    yield work
    for gate in work.gates.values():
        gate.open()


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Return a pool in which two jobs run at a time."""
    pool = WorkerPool(max_workers=8, slots=2)
    yield pool
    pool.close()


@pytest.fixture
def lane(work: Work, pool: WorkerPool, clock: LifeClock) -> Lane[str, str]:
    """Return a lane with room for three."""
    return Lane(work.do, work.done, pool=pool, clock=clock, max_batch=3, deadline=DEADLINE)


def fill(lane: Lane[str, Any], work: Work, items: str) -> Gate:
    """Have ``items`` wait in the lane behind a batch, which goes on when the gate opens."""
    gate = work.hold("0")
    lane.submit("0")
    gate.wait_for_entry()
    for item in items:
        lane.submit(item)
    return gate


def test_what_comes_meanwhile_is_the_next_batch(lane: Lane[str, str], work: Work) -> None:
    """While one batch is under way the next one gathers (DESIGN 5, Group commit)."""
    gate = work.hold("a")
    lane.submit("a")
    gate.wait_for_entry()
    lane.submit("b")
    lane.submit("c")
    assert lane.busy
    gate.open()

    # The next batch begins before all are told what became of the one before.
    assert sorted(work.wait(3)) == [("a", "A", None), ("b", "B", None), ("c", "C", None)]
    assert work.batches == [["a"], ["b", "c"]]


def test_a_batch_has_a_limit(lane: Lane[str, str], work: Work) -> None:
    """What does not fit waits for the batch after it, in order."""
    gate = fill(lane, work, "abcdefg")
    gate.open()

    work.wait(8)
    assert work.batches == [["0"], ["a", "b", "c"], ["d", "e", "f"], ["g"]]


def test_urgent_items_go_first_and_beyond_the_limit(lane: Lane[str, str], work: Work) -> None:
    """What a running turn waits for takes no one's place (DESIGN 5, Idle)."""
    gate = fill(lane, work, "abcd")
    lane.submit("x", urgent=True)
    lane.submit("y", urgent=True)
    gate.open()

    work.wait(7)
    assert work.batches == [["0"], ["x", "y", "a", "b", "c"], ["d"]]


def test_a_free_lane_is_used_by_who_finds_it(lane: Lane[str, str], work: Work) -> None:
    """Inline, the batch has run when ``submit`` returns; no thread is woken."""
    lane.submit("a", inline=True)

    assert work.outcomes == [("a", "A", None)]
    assert work.threads == [threading.current_thread()]


def test_an_error_concerns_the_whole_batch(lane: Lane[str, str], work: Work) -> None:
    """Each of its items gets it; the batch behind is not concerned."""
    error = work.errors["b"] = LookupError("on purpose")
    gate = fill(lane, work, "abcd")
    gate.open()

    told = sorted(work.wait(5), key=lambda outcome: outcome[0])[1:]
    assert told == [(item, None, error) for item in "abc"] + [("d", "D", None)]


def test_an_interrupt_is_its_callers_alone(lane: Lane[str, str], work: Work) -> None:
    """A KeyboardInterrupt is raised where it hit; its batch is unavailable, and no more."""
    work.errors["a"] = KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        lane.submit("a", inline=True)

    [(_, _, error)] = work.outcomes
    assert isinstance(error, StorageUnavailableError)
    lane.submit("b", inline=True)
    assert work.outcomes[1:] == [("b", "B", None)]


@pytest.mark.parametrize("kind", [LookupError, SystemExit])
def test_an_item_that_fails_to_be_told_keeps_no_other_back(
    work: Work, pool: WorkerPool, clock: LifeClock, kind: type[BaseException]
) -> None:
    """What comes of telling one is raised on its worker; the rest of its batch is told."""

    def done(item: str, answer: str | None, error: BaseException | None) -> None:
        if item in {"a", "b"}:
            raise kind
        work.done(item, answer, error)

    lane = Lane(work.do, done, pool=pool, clock=clock, max_batch=4, deadline=DEADLINE)
    gate = fill(lane, work, "abcd")
    gate.open()

    assert sorted(work.wait(3)) == [("0", "0", None), ("c", "C", None), ("d", "D", None)]


def test_a_batch_in_time_is_left_alone(lane: Lane[str, str], work: Work, clock: LifeClock) -> None:
    """Until its deadline a slow batch is just slow."""
    gate = work.hold("a")
    lane.submit("a")
    gate.wait_for_entry()

    clock.advance(DEADLINE - 0.1)
    lane.abandon_overdue()
    assert work.outcomes == []
    gate.open()

    assert work.wait(1) == [("a", "A", None)]


def test_a_batch_past_its_deadline_is_abandoned(
    lane: Lane[str, str], work: Work, clock: LifeClock
) -> None:
    """Its items learn that the storage is away, and the lane goes on (DESIGN 5)."""
    gate = work.hold("a")
    lane.submit("a")
    gate.wait_for_entry()
    lane.submit("b")

    clock.advance(DEADLINE)
    lane.abandon_overdue()

    (item, answer, error), behind = work.wait(2)
    assert (item, answer) == ("a", None)
    assert isinstance(error, StorageUnavailableError)
    assert behind == ("b", "B", None)


def test_the_time_of_each_batch_counts_alone(
    lane: Lane[str, str], work: Work, clock: LifeClock
) -> None:
    """What waited behind an abandoned batch has a whole deadline of its own."""
    first, second = work.hold("a"), work.hold("b")
    lane.submit("a")
    first.wait_for_entry()
    lane.submit("b")
    clock.advance(DEADLINE)
    lane.abandon_overdue()
    second.wait_for_entry()

    clock.advance(DEADLINE - 0.1)
    lane.abandon_overdue()
    assert [item for item, _, _ in work.outcomes] == ["a"]
    second.open()

    assert work.wait(2)[1] == ("b", "B", None)


def test_late_results_are_ignored(
    lane: Lane[str, str], work: Work, clock: LifeClock, pool: WorkerPool
) -> None:
    """What an abandoned batch answers one day reaches nobody."""
    gate = work.hold("a")
    lane.submit("a")
    gate.wait_for_entry()
    clock.advance(DEADLINE)
    lane.abandon_overdue()
    work.wait(1)
    worker = work.threads[0]

    pool.close()
    gate.open()
    worker.join(PATIENCE)

    assert not worker.is_alive()
    assert [answer for _, answer, _ in work.outcomes] == [None]


def test_a_late_failure_does_not_concern_the_batch_under_way(
    lane: Lane[str, str], work: Work, clock: LifeClock, pool: WorkerPool
) -> None:
    """The end of an abandoned batch neither ends nor fails the one that took its place."""
    first, second = work.hold("a"), work.hold("b")
    work.errors["a"] = LookupError("too late")
    lane.submit("a")
    first.wait_for_entry()
    lane.submit("b")
    clock.advance(DEADLINE)
    lane.abandon_overdue()
    second.wait_for_entry()

    pool.close()
    first.open()
    work.threads[0].join(PATIENCE)
    assert lane.busy
    second.open()

    assert work.wait(2)[1] == ("b", "B", None)


def test_hanging_batches_do_not_eat_the_workers(
    lane: Lane[str, str], work: Work, clock: LifeClock, pool: WorkerPool
) -> None:
    """A worker that hangs in an abandoned batch is replaced, and counted in when it is back."""
    items = "abcde"
    for n, item in enumerate(items, start=1):
        gate = work.hold(item)
        lane.submit(item)
        gate.wait_for_entry()
        clock.advance(DEADLINE)
        lane.abandon_overdue()
        work.wait(n)

    ran = threading.Event()
    pool.schedule(ran.set)
    assert ran.wait(PATIENCE)
    assert pool.blocked == len(items)
    pool.close()
    for item in items:
        work.gates[item].open()
    for worker in work.threads:
        worker.join(PATIENCE)
    assert pool.blocked == 0


def test_hanging_reads_do_not_stop_other_agents(memory: MemoryStorage, clock: LifeClock) -> None:
    """However many reads hang, agents that need no storage answer, and the thaw goes on."""
    storage = FaultyStorage(memory)
    storage.timeout = 1
    with running(storage, clock=clock, timeout=None) as runtime:

        class Fleeting(Scripted, durability="none"):
            """Needs no storage."""

        hangs = [storage.hang_next("read") for _ in range(runtime.manager.pool.slots + 1)]
        reply = runtime.get(Scripted, "a").submit(Scripted.read)
        for hang in hangs:
            assert hang.entered.wait(PATIENCE)
            clock.advance(2)
            clock.pass_backoff(0.25)

        assert result(runtime.get(Fleeting, "b").submit(Fleeting.add)) == 1
        assert result(reply) == 0


def test_the_deadline_of_a_lane_is_twice_the_storages(memory: MemoryStorage) -> None:
    """A storage gets the time that it says it needs, and once more; at most 30 s."""
    deadlines = {}
    for seconds in (0.0, 2.0, 60.0):
        storage = FaultyStorage(memory)
        storage.timeout = seconds
        with running(storage) as runtime:
            deadlines[seconds] = runtime.manager.commits._deadline
    assert deadlines == {0.0: 30.0, 2.0: 4.0, 60.0: 30.0}


def test_an_inline_batch_can_be_abandoned_too(
    lane: Lane[str, str], work: Work, clock: LifeClock, pool: WorkerPool
) -> None:
    """Whose caller hangs in a batch hangs alone; no worker is missed."""
    gate = work.hold("a")
    caller = begin(lambda: lane.submit("a", inline=True))
    gate.wait_for_entry()
    clock.advance(DEADLINE)
    lane.abandon_overdue()
    lane.submit("b")

    assert work.wait(2)[1] == ("b", "B", None)
    assert pool.blocked == 0
    gate.open()
    done(caller)
    assert len(work.outcomes) == 2
