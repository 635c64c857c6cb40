"""One thread that runs short functions when their time has come."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.clock import Clock

__all__ = ["Alarm", "Timer"]

logger = logging.getLogger("torpor")


class Alarm:
    """One function and its time."""

    __slots__ = ("run", "ticket", "when")

    def __init__(self, when: float, ticket: int, run: Callable[[], None]) -> None:
        self.when = when
        self.ticket = ticket
        self.run: Callable[[], None] | None = run

    def __lt__(self, other: Alarm) -> bool:
        return (self.when, self.ticket) < (other.when, other.ticket)


class Timer:
    """Runs functions at or after a time of ``clock.monotonic()``, in order of their time.

    The functions must be quick and must not block: they hand real work to the workers.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._heap: list[Alarm] = []
        self._cancelled = 0
        self._ticket = itertools.count()
        self._closed = False
        self._thread: threading.Thread | None = None
        clock.on_change(self._wake)

    def after(self, delay: float, run: Callable[[], None]) -> Alarm:
        """Run ``run`` once ``delay`` seconds have passed. Ignored after ``close``."""
        return self.at(self._clock.monotonic() + delay, run)

    def at(self, when: float, run: Callable[[], None]) -> Alarm:
        """Run ``run`` at ``when``. Ignored after ``close``."""
        alarm = Alarm(when, next(self._ticket), run)
        with self._changed:
            if self._closed:
                return alarm
            heapq.heappush(self._heap, alarm)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="torpor-timer", daemon=True)
                self._thread.start()
            elif self._heap[0] is alarm:
                self._changed.notify()
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        """Forget ``alarm``, unless it has run or is about to."""
        with self._changed:
            if alarm.run is None:
                return
            alarm.run = None
            self._cancelled += 1
            if self._cancelled > len(self._heap) // 2:
                self._heap = [a for a in self._heap if a.run is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def close(self) -> None:
        """End the thread; what has not run yet never will."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._closed:
                    due = self._heap[0].when if self._heap else None
                    if due is not None and due <= self._clock.monotonic():
                        break
                    self._clock.wait(self._changed, due)
                if self._closed:
                    return
                alarm = heapq.heappop(self._heap)
                run, alarm.run = alarm.run, None
                if run is None:
                    self._cancelled -= 1
                    continue
            try:
                run()
            except Exception:
                logger.exception("a timer's function failed")
