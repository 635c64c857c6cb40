"""A lane waits for those that are likely to come, and not for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from torpor.clock import SystemClock
from torpor.lanes import Lane
from torpor.workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = ["a", "b", "c", "d"]


class Time:
    """What passes only while somebody sleeps or works; ``then`` happens on the way."""

    def __init__(self) -> None:
        self.now = 0.0
        self.then: dict[float, Callable[[], None]] = {}

    def perf_counter(self) -> float:
        """Return what time it is."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        for moment in [moment for moment in self.then if moment <= self.now]:
            self.then.pop(moment)()


class ByHand(WorkerPool):
    """A pool without workers: the test runs the jobs."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self.jobs: list[Callable[[], None]] = []

    def schedule(self, job: Callable[[], None]) -> None:
        """Keep the job."""
        self.jobs.append(job)

    def run(self) -> None:
        """Run all there are."""
        while self.jobs:
            self.jobs.pop(0)()


class Bench:
    """A lane whose batches take ``takes`` seconds; ``began`` notes when each one began."""

    def __init__(self, time: Time) -> None:
        self.takes = 0.0
        self.batches: list[list[str]] = []
        self.began: list[float] = []
        self.pool = ByHand()
        self._time = time
        self.lane: Lane[str, None] = Lane(
            self._work,
            lambda _item, _answer, _error: None,
            pool=self.pool,
            clock=SystemClock(),
            max_batch=100,
            deadline=60.0,
        )

    def _work(self, batch: list[str]) -> list[None]:
        self.batches.append(list(batch))
        self.began.append(self._time.now)
        self._time.now += self.takes
        return [None] * len(batch)

    def submit(self, items: list[str]) -> None:
        """Add items to the next batch."""
        for item in items:
            self.lane.submit(item)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Return the time that lanes go by."""
    time = Time()
    monkeypatch.setattr("torpor.lanes.time", time)
    return time


@pytest.fixture
def bench(time: Time) -> Bench:
    """Return a lane whose last batch was of four and took 10 ms."""
    bench = Bench(time)
    bench.takes = 0.01
    bench.submit(BATCH)
    bench.pool.run()
    time.now = 0.0
    bench.began.clear()
    bench.batches.clear()
    return bench


def test_those_that_were_answered_together_are_waited_for(bench: Bench, time: Time) -> None:
    """One that comes back first goes with the others, if they come in half a batch's time."""
    bench.submit(["a"])
    time.then[0.004] = lambda: bench.submit(["b", "c"])
    bench.pool.run()

    assert bench.batches == [["a", "b", "c"]]
    assert bench.began == [pytest.approx(0.004, abs=0.0002)]


def test_nobody_waits_longer_than_half_a_batch_for_others(bench: Bench) -> None:
    """Who comes alone goes alone after that."""
    bench.submit(["a"])
    bench.pool.run()

    assert bench.batches == [["a"]]
    assert bench.began == [pytest.approx(0.005, abs=0.0002)]


def test_who_is_alone_for_long_does_not_wait(bench: Bench, time: Time) -> None:
    """After two batches of one the next is not expected to be of more."""
    for _ in range(2):
        bench.submit(["a"])
        bench.pool.run()
    before = time.now

    bench.submit(["a"])
    bench.pool.run()

    assert bench.began[-1] == before


def test_a_storage_that_hung_is_no_reason_to_wait(bench: Bench, time: Time) -> None:
    """The wait is of 5 ms at most, however long a batch took."""
    bench.takes = 10.0
    bench.submit(BATCH)
    bench.pool.run()
    before = time.now

    bench.submit(["a"])
    bench.pool.run()

    assert bench.began[-1] - before == pytest.approx(0.005, abs=0.0002)


def test_what_a_turn_waits_for_is_not_kept_waiting(bench: Bench, time: Time) -> None:
    """An urgent item goes at once, and takes with it who waits already."""
    bench.submit(["a"])
    bench.lane.submit("x", urgent=True)
    bench.pool.run()

    assert bench.batches == [["x", "a"]]
    assert bench.began == [time.now - bench.takes] == [0.0]


def test_while_more_and_more_come_they_are_waited_for(time: Time) -> None:
    """Also if a batch takes no time, but for 2 ms at most."""
    bench = Bench(time)
    bench.submit([*BATCH] * 25)
    bench.pool.run()
    begun = time.now = 1.0
    for n in range(1, 60):
        time.then[begun + (n - 0.5) * 0.0001] = lambda: bench.submit(["x"])

    bench.submit(["a"])
    bench.pool.jobs.pop(0)()

    assert bench.began[-1] - begun == pytest.approx(0.002, abs=0.0002)
    assert len(bench.batches[-1]) == pytest.approx(20, abs=2)
