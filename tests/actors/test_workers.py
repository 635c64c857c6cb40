"""The worker pool: shared threads, as many as are needed, never more than allowed."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest

from tests.actors.kit import SOON, Scripted, new_runtime
from tests.runtime.kit import Gate
from torpor import Agent, WorkersExhaustedError, command
from torpor.workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Link(Agent):
    """Waits for the next of a chain, on a worker of its own."""

    @command(thread="worker")
    def wait_for(self, following: int) -> int:
        """Ask the next one; return how many there were."""
        if not following:
            return 1
        return 1 + self.runtime.get(Link, str(following)).ask(Link.wait_for, following - 1)


class TestPool(WorkerPool):
    """A pool whose surplus workers can be counted as they leave."""

    __test__ = False

    def __init__(self, max_workers: int, slots: int) -> None:
        super().__init__(max_workers, slots)
        self.left = threading.Semaphore(0)

    def _next_job(self) -> Callable[[], None] | None:
        job = super()._next_job()
        if job is not None and job.__name__ == "_SURPLUS":
            self.left.release()
        return job


@pytest.fixture
def pool() -> Iterator[TestPool]:
    """Return a pool of two slots and at most 64 threads."""
    pool = TestPool(64, slots=2)
    yield pool
    pool.close()


def test_blocked_handlers_give_their_slots_back() -> None:
    """A chain of agents that ask each other, longer than there are slots, gets on."""
    with new_runtime() as runtime:
        runtime.manager.pool.slots = 1

        assert runtime.get(Link, "start").ask(Link.wait_for, 30) == 31


def test_agents_that_ask_queued_agents_starve_nobody() -> None:
    """Many askers take all slots at once; those they wait for still run."""
    with new_runtime() as runtime:
        runtime.manager.pool.slots = 2
        target, gate = runtime.get(Scripted, "target"), Gate()
        target.tell(Scripted.do, lambda _: gate.pass_through())
        gate.wait_for_entry()
        askers = [
            runtime.get(Scripted, str(i)).submit(Scripted.do, lambda _: target.ask(Scripted.add))
            for i in range(40)
        ]
        bystander = runtime.get(Scripted, "bystander").submit(Scripted.add)

        assert bystander.get(timeout=SOON) == 1
        gate.open()
        assert sorted(asker.get(timeout=SOON) for asker in askers) == list(range(1, 41))
        assert runtime.stats().workers_blocked == 0


def test_no_more_workers_than_allowed() -> None:
    """The handler that would block the last worker gets an error instead; nothing hangs."""
    with new_runtime(max_workers=4) as runtime:
        with pytest.raises(WorkersExhaustedError, match="4 workers") as caught:
            runtime.get(Link, "start").ask(Link.wait_for, 10)

        assert caught.value.outcome == "not_run"
        assert runtime.stats().workers <= 4
        assert runtime.stats().workers_blocked == 0
        assert runtime.get(Link, "start").ask(Link.wait_for, 2) == 3


def test_what_the_refused_handler_waited_for_is_withdrawn() -> None:
    """A get that is refused for want of workers takes its call back."""
    with new_runtime(max_workers=1) as runtime:
        other = runtime.get(Scripted, "other")

        with pytest.raises(WorkersExhaustedError):
            runtime.get(Scripted, "a").submit(
                Scripted.do, lambda _: other.submit(Scripted.add).get()
            ).get(timeout=SOON)

        assert other.ask(Scripted.read) == 0


def test_workers_are_made_on_demand(pool: TestPool) -> None:
    """No thread runs before the first job, and no second one while one is enough."""
    assert pool.threads == 0
    for _ in range(5):
        done = threading.Event()
        pool.schedule(done.set)
        assert done.wait(SOON)

    assert 1 <= pool.threads <= 2


def test_workers_are_daemons(pool: TestPool) -> None:
    """A stuck handler keeps no program from ending."""
    found: list[bool] = []
    done = threading.Event()

    def look() -> None:
        found.append(threading.current_thread().daemon)
        done.set()

    pool.schedule(look)

    assert done.wait(SOON)
    assert found == [True]


def test_no_more_jobs_run_at_a_time_than_there_are_slots(pool: TestPool) -> None:
    """Jobs beyond the slots wait their turn."""
    gate, running, most = Gate(), list[int](), list[int]()
    done = threading.Semaphore(0)

    def job() -> None:
        running.append(1)
        most.append(len(running))
        gate.pass_through()
        running.pop()
        done.release()

    for _ in range(10):
        pool.schedule(job)
    gate.wait_for_entry()
    gate.open()

    for _ in range(10):
        assert done.acquire(timeout=SOON)
    assert max(most) <= 2


def test_surplus_workers_leave(pool: TestPool) -> None:
    """Once the blocked jobs go on, the pool shrinks to its slots."""
    inside, go = threading.Semaphore(0), threading.Event()

    def block() -> None:
        with pool.blocking("somebody"):
            inside.release()
            assert go.wait(SOON)

    for _ in range(10):
        pool.schedule(block)
    for _ in range(10):
        assert inside.acquire(timeout=SOON)
    assert pool.blocked == 10
    assert pool.threads >= 10
    surplus = pool.threads - pool.slots
    go.set()

    for _ in range(surplus):
        assert pool.left.acquire(timeout=SOON)
    assert pool.threads == 2
    assert pool.blocked == 0


def test_a_job_is_not_lost_while_surplus_workers_leave() -> None:
    """Of workers that leave at the same moment, enough stay for a job that comes right then."""
    workers = 8
    arrived, go = threading.Barrier(workers + 1), threading.Event()
    deciding, decided = threading.Lock(), threading.Event()
    leavers: list[int] = []
    done = threading.Event()

    class Together(WorkerPool):
        """All its idle workers look for work at once, and leave at once."""

        def _next_job(self) -> Callable[[], None] | None:
            if go.is_set():
                return super()._next_job()
            arrived.wait(SOON)
            assert go.wait(SOON)
            job = super()._next_job()
            if job is not None and job.__name__ == "_SURPLUS":
                with deciding:
                    leavers.append(1)
                    if len(leavers) == workers:
                        decided.set()
                decided.wait(SOON)
            return job

    pool = Together(64, slots=2)
    inside, unblock = threading.Semaphore(0), threading.Event()

    def block() -> None:
        with pool.blocking("somebody"):
            inside.release()
            assert unblock.wait(SOON)

    def job() -> None:
        done.set()
        decided.set()

    for _ in range(workers):
        pool.schedule(block)
    for _ in range(workers):
        assert inside.acquire(timeout=SOON)
    unblock.set()
    arrived.wait(SOON)
    pool.schedule(job)  # all workers have found the queue empty, none has left
    go.set()

    assert done.wait(SOON), "nobody is left to run the job"
    assert len(leavers) <= workers - 2
    pool.close()


def test_a_failing_job_harms_no_worker(pool: TestPool, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, even if it wants to end the thread."""
    caplog.set_level(logging.ERROR, "torpor")
    done = threading.Event()

    def fail() -> None:
        raise SystemExit

    for _ in range(5):
        pool.schedule(fail)
    pool.schedule(done.set)

    assert done.wait(SOON)
    assert "a worker's job failed" in caplog.text


def test_other_threads_have_no_slot_to_give_back(pool: TestPool) -> None:
    """A program's own thread that waits counts as nothing."""
    with pool.blocking("somebody"):
        assert pool.blocked == 0


def test_closed_workers_end(pool: TestPool) -> None:
    """After ``close`` every worker ends once its job is done."""
    threads: list[threading.Thread] = []
    gate, both = Gate(), threading.Semaphore(0)

    def note() -> None:
        threads.append(threading.current_thread())
        both.release()
        gate.pass_through()

    pool.schedule(note)
    pool.schedule(note)
    assert both.acquire(timeout=SOON)
    pool.close()
    gate.open()
    for thread in threads:
        thread.join(SOON)

    assert not any(thread.is_alive() for thread in threads)
