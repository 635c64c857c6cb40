"""Actors that share worker threads: a live, idle agent costs memory and no thread.

An actor is queued for a worker when its mailbox turns non-empty, runs a bounded number of
turns, and yields. At any time at most one thread has *claimed* an actor: it is queued, being
run, or waits for something that will have it run again. So an actor needs no thread of its own
to handle one message at a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from abc import abstractmethod
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pykka

from torpor.actor_ref import PooledActorRef
from torpor.calls import Reply
from torpor.storage.errors import WorkersExhaustedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pykka._envelope import Envelope

__all__ = ["PooledActor", "WorkerPool"]

logger = logging.getLogger("torpor")

_local = threading.local()


def _SURPLUS() -> None:  # noqa: N802 - a mark, not a job
    """Tell a worker that there are enough without it."""


class WorkerPool:
    """Threads that run jobs from one queue, started on demand, never more than needed.

    ``slots`` jobs run at a time. A job that waits inside ``blocking`` gives its slot back, and
    a further thread takes over, up to ``max_workers`` threads.
    """

    def __init__(self, max_workers: int, slots: int | None = None) -> None:
        self.max_workers = max_workers
        self.slots = min(max_workers, slots or min(32, (os.cpu_count() or 1) + 4))
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._threads = 0
        self._idle = 0
        self._blocked = 0
        self._closed = False

    def schedule(self, job: Callable[[], None]) -> None:
        """Have ``job`` run by a worker, after those scheduled before it."""
        self._jobs.put(job)
        if self._jobs.qsize() > self._idle and self._threads - self._blocked < self.slots:
            self._grow()

    def look_after_jobs(self) -> None:
        """Have a worker come for what was scheduled, if none is free and none was called."""
        if self._jobs.qsize() > self._idle:
            self._grow()

    @property
    def wanted(self) -> bool:
        """Whether jobs wait for a worker."""
        return not self._jobs.empty()

    @property
    def threads(self) -> int:
        """How many worker threads there are now."""
        return self._threads

    @property
    def blocked(self) -> int:
        """How many of them wait for a reply now."""
        return self._blocked

    def on_worker(self) -> bool:
        """Whether the calling thread is one of these workers."""
        return getattr(_local, "pool", None) is self

    def lose_one(self) -> None:
        """Count a worker out that hangs in a storage call: another takes its slot."""
        with self._lock:
            self._blocked += 1
        self.look_after_jobs()

    def regain_one(self) -> None:
        """Count a worker in again that was lost."""
        with self._lock:
            self._blocked -= 1

    @contextlib.contextmanager
    def blocking(self, target: str) -> Generator[None]:
        """Give this worker's slot back while the block waits. No effect on other threads.

        Raises ``WorkersExhaustedError`` if nobody would be left to run what is waited for.
        """
        if not self.on_worker():
            yield
            return
        with self._lock:
            if self._blocked + 1 >= self.max_workers:
                detail = f"all {self.max_workers} workers wait for replies"
                raise WorkersExhaustedError(target, detail)
            self._blocked += 1
        try:
            if self._jobs.qsize() > self._idle:
                self._grow()
            yield
        finally:
            with self._lock:
                self._blocked -= 1

    def close(self, *, wait: float = 0.0) -> None:
        """Let the workers end once their jobs are done. Later jobs may never run.

        Waits up to ``wait`` seconds for that, but not for workers that are blocked or lost.
        """
        mine = self.on_worker()
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._jobs.put(None)
            self._ended.wait_for(lambda: self._threads - self._blocked <= mine, wait)

    def _grow(self) -> None:
        with self._lock:
            running = self._threads - self._blocked
            if self._closed or running >= self.slots or self._threads >= self.max_workers:
                return
            self._threads += 1
            name = f"torpor-worker-{self._threads}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        _local.pool = self
        while True:
            try:
                job = self._jobs.get_nowait()
            except Exception:  # noqa: BLE001 - queue.Empty; anything else is raised by get
                job = self._next_job()
            if job is _SURPLUS:
                return
            if job is None:
                break
            try:
                job()
            except BaseException:
                logger.exception("a worker's job failed")
        with self._lock:
            self._threads -= 1
            self._ended.notify_all()

    def _next_job(self) -> Callable[[], None] | None:
        with self._lock:
            if self._threads - self._blocked > self.slots:
                self._threads -= 1
                return _SURPLUS
            self._idle += 1
        try:
            return self._jobs.get()
        finally:
            with self._lock:
                self._idle -= 1


class PooledActor(pykka.Actor):
    """An actor type for pykka whose actors share the workers of a ``WorkerPool``.

    ``lock`` guards who has claimed it. It is taken by ``with`` alone, although that costs a
    blocking call 3 % more: an interrupt right behind ``acquire()`` would leave it locked.

    It stays out of pykka's global registry, whose removal is a linear search and whose
    ``stop_all()`` would reach every runtime of the process.
    """

    __slots__ = ("claimed", "closed", "lock", "mailbox", "parked", "pool", "runner")

    def __init__(self, pool: WorkerPool) -> None:
        # Not pykka's __init__: it makes a UUID, an Event and a ref for every actor.
        self.pool = pool
        self.lock = threading.Lock()
        self.mailbox: list[Any] = []
        self.claimed = False
        self.closed = False
        self.parked = False
        self.runner: int | None = None

    @abstractmethod
    def run(self) -> None:
        """Handle waiting messages. Called by the claimant; keeps or gives up the claim."""

    @abstractmethod
    def receive(self, envelope: Envelope[Any]) -> None:
        """Put a message that came through pykka's own ``ActorRef`` into the mailbox."""

    @abstractmethod
    def interrupted(self, interrupt: BaseException) -> None:
        """Have a worker go on with what the calling thread has claimed and was kept from."""

    def post(self, message: Any) -> bool:
        """Put ``message`` into the mailbox; False if this actor has ended: find its successor."""
        with self.lock:
            if self.closed:
                return False
            self.mailbox.append(message)
            if self.claimed:
                return True
            self.claimed = True
        self.pool.schedule(self.run)
        return True

    def wake(self) -> None:
        """Claim the actor and have it run, unless somebody has claimed it."""
        with self.lock:
            if self.closed or self.claimed:
                return
            self.claimed = True
        self.pool.schedule(self.run)

    def park(self) -> None:
        """Stop running, keep the claim; what is waited for will resume. Lock held."""
        self.parked = True
        self.runner = None

    def run_again(self) -> None:
        """Stop running, keep the claim, and go on behind the jobs that are queued now."""
        self.runner = None
        self.pool.schedule(self.run)

    # -- what pykka asks of an actor type -----------------------------------------------------

    @property
    @abstractmethod
    def actor_urn(  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """What tells this actor from all others of its runtime; made when asked for."""

    @property
    def actor_ref(self) -> PooledActorRef:
        """The reference that pykka's own code uses; made when asked for."""
        return PooledActorRef(self)

    @abstractmethod
    def proxy(self) -> Any:
        """Return what ``actor_ref.proxy()`` does."""

    @staticmethod
    def _create_actor_inbox() -> Any:
        msg = "a pooled actor is its own inbox"
        raise TypeError(msg)

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return Reply()

    def _start_actor_loop(self) -> None:
        self.wake()
