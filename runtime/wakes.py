"""Wakes tasks on event loops, from any thread and at deadlines.

What comes from other threads takes one call into a loop for a whole burst, and all deadlines
share one timer of the loop: few of them are ever reached.

A call into a loop from another thread writes to a socket, which lets go of the interpreter: the
loop's thread takes it, and who had it waits for its next turn, up to 5 ms. A batch of replies
that does so once is many times faster than one that does so for each.
"""

from __future__ import annotations

import contextlib
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torpor.eventloop import current_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

    from torpor.clock import Clock

__all__ = ["Wakes", "gathered"]

_local = threading.local()


class Wakes:
    """What is to be woken on one event loop. ``wake`` is for any thread, the rest for its own."""

    __slots__ = ("_called", "_cancel", "_clock", "_deadlines", "_futures", "_next", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self.loop = loop
        self._clock = clock
        self._deadlines: dict[asyncio.Future[None], float] = {}
        self._next: float | None = None
        self._cancel: Callable[[], None] | None = None
        self._futures: list[asyncio.Future[None]] = []
        self._called = False

    def wake(self, future: asyncio.Future[None]) -> None:
        """Set ``future``, of this loop, unless it is done."""
        if current_loop() is self.loop:
            _set(future)
            return
        self._futures.append(future)
        if self._called:
            return
        gathering: set[Wakes] | None = getattr(_local, "gathering", None)
        if gathering is None:
            self.call()
        else:
            gathering.add(self)

    def call(self) -> None:
        """Have the loop wake what is to be woken."""
        self._called = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits on it any more
            self.loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        # First this and then the futures: who adds one looks at it in the other order.
        self._called = False
        came = len(self._futures)
        futures = self._futures[:came]
        del self._futures[:came]
        for future in futures:
            _set(future)

    def wake_at(self, deadline: float, future: asyncio.Future[None]) -> None:
        """Set ``future`` when the clock has come to ``deadline``, unless ``forget`` is first."""
        self._deadlines[future] = deadline
        if self._next is None or deadline < self._next:
            self._wait_until(deadline)

    def forget(self, future: asyncio.Future[None]) -> None:
        """Do not wake ``future`` at its deadline any more."""
        self._deadlines.pop(future, None)

    def _wait_until(self, deadline: float) -> None:
        if self._cancel is not None:
            self._cancel()
        self._next = deadline
        self._cancel = self._clock.call_at(self.loop, deadline, self._time_has_come)

    def _time_has_come(self) -> None:
        if current_loop() is self.loop:
            self._wake_due()
            return
        with contextlib.suppress(RuntimeError):  # see ``call``
            self.loop.call_soon_threadsafe(self._wake_due)

    def _wake_due(self) -> None:
        now = self._clock.monotonic()
        self._next = self._cancel = None
        for future in [future for future, due in self._deadlines.items() if due <= now]:
            _set(future)
            del self._deadlines[future]
        if self._deadlines:
            self._wait_until(min(self._deadlines.values()))


@contextmanager
def gathered() -> Generator[None]:
    """Put off what this thread wakes until the end of the block, which must not wait."""
    _local.gathering = gathering = set[Wakes]()
    try:
        yield
    finally:
        _local.gathering = None
        for wakes in gathering:
            wakes.call()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
