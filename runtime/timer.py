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

__all__ = ["Timer"]

logger = logging.getLogger("torpor")


class Timer:
    """Runs functions at or after a time of ``clock.monotonic()``, in order of their time.

    The functions must be quick and must not block: they hand real work to the workers.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = itertools.count()
        self._closed = False
        self._thread: threading.Thread | None = None
        clock.on_change(self._wake)

    def after(self, delay: float, run: Callable[[], None]) -> None:
        """Run ``run`` once ``delay`` seconds have passed. Ignored after ``close``."""
        self.at(self._clock.monotonic() + delay, run)

    def at(self, when: float, run: Callable[[], None]) -> None:
        """Run ``run`` at ``when``. Ignored after ``close``."""
        with self._changed:
            if self._closed:
                return
            heapq.heappush(self._heap, (when, next(self._ticket), run))
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="torpor-timer", daemon=True)
                self._thread.start()
            elif self._heap[0][0] == when:
                self._changed.notify()

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
                    due = self._heap[0][0] if self._heap else None
                    if due is not None and due <= self._clock.monotonic():
                        break
                    self._clock.wait(self._changed, due)
                if self._closed:
                    return
                _, _, run = heapq.heappop(self._heap)
            try:
                run()
            except Exception:
                logger.exception("a timer's function failed")
