"""Lanes gather what many agents want of the storage into few operations.

While one batch is under way the next one gathers; nobody waits for a timer, and a lane has no
thread: whoever finds it free runs the batch (group commit: DeWitt et al., "Implementation
Techniques for Main Memory Database Systems", SIGMOD 1984).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from torpor.storage.errors import StorageUnavailableError
from torpor.wakes import gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.clock import Clock
    from torpor.workers import WorkerPool

__all__ = ["Lane"]

_GATHERING_SECONDS = 0.0001
_LONGEST_GATHERING = 0.002
_LONGEST_PATIENCE = 0.005

Item = TypeVar("Item")
Result = TypeVar("Result")
Result_contra = TypeVar("Result_contra", contravariant=True)
Item_contra = TypeVar("Item_contra", contravariant=True)


class Done(Protocol[Item_contra, Result_contra]):
    """Takes one item's result, or the error of its whole batch."""

    def __call__(
        self, item: Item_contra, result: Result_contra | None, error: BaseException | None, /
    ) -> None: ...


class Lane(Generic[Item, Result]):
    """Runs ``work`` on batches of items, one batch at a time, and hands each its result.

    A batch that takes longer than ``deadline`` seconds is abandoned: its items get a
    ``StorageUnavailableError``, its late results are ignored, and the lane goes on.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        work: Callable[[list[Item]], Sequence[Result]],
        done: Done[Item, Result],
        *,
        pool: WorkerPool,
        clock: Clock,
        max_batch: int,
        deadline: float,
    ) -> None:
        self._work = work
        self._done = done
        self._pool = pool
        self._clock = clock
        self._max_batch = max_batch
        self._deadline = deadline
        self._lock = threading.Lock()
        self._waiting: list[Item] = []
        self._urgent: list[Item] = []
        self._scheduled = False
        self._batch: list[Item] | None = None
        self._last = self._last_but_one = 1
        self._took = self._took_before = 0.0  # seconds that pass, whatever the runtime's clock says
        self._started = 0.0
        self._worker = False

    def submit(self, item: Item, *, inline: bool = False, urgent: bool = False) -> None:
        """Add ``item`` to the next batch.

        ``inline``: if the lane is free, run that batch on this thread, now, unless the last one
        was of several items: then others are likely to come soon. Otherwise a worker does,
        behind the jobs that are queued already, so that theirs can join. ``urgent``: go first,
        and beyond the batch's limit.
        """
        inline = inline and self._last <= 1
        batch: list[Item] | None = None
        try:
            with self._lock:
                (self._urgent if urgent else self._waiting).append(item)
                if self._batch is not None or (self._scheduled and not inline):
                    return
                if inline:
                    batch = self._next_batch()
                self._scheduled = self._scheduled or not inline
            if batch is not None:
                self._run(batch)
            else:
                self._pool.schedule(self._drain)
        except Exception:
            raise
        except BaseException:
            self._leave_to_workers(batch or [])
            raise

    @property
    def busy(self) -> bool:
        """Whether a batch is under way or waits."""
        return self._batch is not None or bool(self._waiting or self._urgent)

    def abandon_overdue(self) -> None:
        """Give up a batch past its deadline. To be called now and then."""
        with self._lock:
            batch = self._batch
            overdue = self._clock.monotonic() - self._started >= self._deadline
            if batch is None or not overdue:
                return
            self._batch = None
            if self._worker:
                self._pool.lose_one()
        error = StorageUnavailableError(f"the storage did not answer for {self._deadline:g} s")
        for item in batch:
            self._done(item, None, error)
        self._go_on()

    def _leave_to_workers(self, batch: list[Item]) -> None:
        """Go on after an interrupt, with what is left of the batch of the interrupted thread.

        Some of it may be worked on twice, and told twice.
        """
        with self._lock:
            if self._batch is batch:
                self._batch = None
            self._waiting += batch
            self._scheduled = True
        self._pool.schedule(self._drain)

    def _next_batch(self) -> list[Item]:
        batch = self._urgent + self._waiting[: self._max_batch]
        size, self._started = len(batch), self._clock.monotonic()
        # From here on nothing is called, so no interrupt comes between.
        self._urgent = []
        del self._waiting[: self._max_batch]
        self._batch = batch
        self._last_but_one, self._last = self._last, size
        self._worker = False
        return batch

    def _gather(self) -> None:
        """Wait for those that the last batches have answered, for half the time that one took.

        While more and more come, wait longer; if a turn waits, not at all. Without, a few that
        are first go alone, then most behind them, and so on by turns: twice the batches, and a
        small one costs about as much as a large one.
        """
        expected = max(self._last, self._last_but_one) * 3 // 4
        waiting = len(self._waiting) + len(self._urgent)
        begin = time.perf_counter()
        patience = min(max(self._took, self._took_before) / 2, _LONGEST_PATIENCE)
        while waiting < expected and not self._urgent:
            time.sleep(_GATHERING_SECONDS)
            before, waiting = waiting, len(self._waiting) + len(self._urgent)
            waited = time.perf_counter() - begin
            if waited >= patience and (waiting == before or waited >= _LONGEST_GATHERING):
                return

    def _drain(self) -> None:
        self._gather()
        with self._lock:
            self._scheduled = False
            if self._batch is not None or not (self._waiting or self._urgent):
                return
            batch = self._next_batch()
        self._run(batch)

    def _run(self, batch: list[Item]) -> None:
        results: Sequence[Result] | None = None
        error: BaseException | None = None
        worker = self._worker = self._pool.on_worker()
        try:
            begin = time.perf_counter()
            results = self._work(batch)
            self._took_before, self._took = self._took, time.perf_counter() - begin
        except BaseException as raised:
            error = raised
            if not isinstance(raised, Exception):  # an interrupt of one caller, not of the others
                error = StorageUnavailableError(f"interrupted: {raised!r}")
                raise
        finally:
            with self._lock:
                mine = self._batch is batch
                if mine:
                    self._batch = None
            if mine:
                self._go_on()
                self._tell(batch, results, error)
                batch.clear()
            elif worker:
                self._pool.regain_one()

    def _tell(
        self, batch: list[Item], results: Sequence[Result] | None, error: BaseException | None
    ) -> None:
        if len(batch) == 1:
            self._done(batch[0], results[0] if results else None, error)
            return
        told = 0
        try:
            with gathered():
                for item in batch:
                    told += 1
                    self._done(item, results[told - 1] if results else None, error)
        finally:
            if told < len(batch):  # what one item's listeners raise is no concern of the others
                rest, answers = batch[told:], results[told:] if results else None
                self._pool.schedule(lambda: self._tell(rest, answers, error))

    def _go_on(self) -> None:
        if not (self._waiting or self._urgent):
            return
        with self._lock:
            idle = self._batch is None and not self._scheduled
            if not idle or not (self._waiting or self._urgent):
                return
            self._scheduled = True
        self._pool.schedule(self._drain)
