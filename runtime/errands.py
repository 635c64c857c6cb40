"""What workers ask the storage beside the lanes: mail, who is due, what is to be tidied up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

from torpor.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.clock import Clock
    from torpor.workers import WorkerPool

__all__ = ["Errands", "logged"]

logger = logging.getLogger("torpor")

T = TypeVar("T")


class Errands:
    """Has workers run errands: each is a lane's only batch, so that one that hangs is left behind.

    Many at a time. Thread-safe.
    """

    def __init__(self, pool: WorkerPool, clock: Clock, deadline: float) -> None:
        self._pool = pool
        self._clock = clock
        self._deadline = deadline
        self._lanes: set[Lane[None, Any]] = set()

    def run(
        self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None]
    ) -> None:
        """Have a worker do ``work`` and hand ``done`` its result, or the error.

        After the deadline the error is ``StorageUnavailableError``, another worker takes the
        place of the one that hangs, and a late result is ignored.
        """

        def finished(_: None, result: T | None, error: BaseException | None) -> None:
            self._lanes.discard(lane)
            done(result, error)

        lane: Lane[None, T] = Lane(
            lambda _: [work()],
            finished,
            pool=self._pool,
            clock=self._clock,
            max_batch=1,
            deadline=self._deadline,
        )
        self._lanes.add(lane)
        lane.submit(None)

    def abandon_overdue(self) -> None:
        """Give up errands past their deadline. To be called now and then."""
        for lane in list(self._lanes):
            lane.abandon_overdue()


def logged(message: str, *details: object) -> Callable[[object, BaseException | None], None]:
    """Return what takes the end of an errand without a result: an error is logged, as the last %s.

    For errands that are run again anyway.
    """

    def done(_: object, error: BaseException | None) -> None:
        if error is not None:
            logger.warning(message, *details, error)

    return done
