"""The two clocks: monotonic for idleness and timeouts, wall for ``at`` and schedules."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What the runtime asks the time of. ``torpor.testing.ManualClock`` is one for tests."""

    def monotonic(self) -> float:
        """Return seconds that only grow; their zero means nothing."""
        ...

    def time(self) -> float:
        """Return seconds since the epoch, UTC."""
        ...

    def acquire(self, lock: threading.Lock, deadline: float | None) -> bool:
        """Acquire ``lock`` by ``deadline`` (of ``monotonic``); return whether it was."""
        ...

    def wait(self, condition: threading.Condition, deadline: float | None) -> None:
        """Wait on a held ``condition`` until it is notified or ``deadline`` has come."""
        ...

    def call_at(
        self, loop: asyncio.AbstractEventLoop, deadline: float, wake: Callable[[], None]
    ) -> Callable[[], None]:
        """Have ``wake`` called at ``deadline`` unless what is returned is called before.

        To be called on the thread of ``loop``; ``wake`` may be called on any.
        """
        ...

    def on_change(self, notify: Callable[[], None]) -> None:
        """Have ``notify`` called when time moves in other ways than by passing."""
        ...


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def acquire(self, lock: threading.Lock, deadline: float | None) -> bool:
        """See ``Clock``."""
        if deadline is None:
            return lock.acquire()
        return lock.acquire(timeout=min(max(deadline - time.monotonic(), 0), 4_000_000))

    def wait(self, condition: threading.Condition, deadline: float | None) -> None:
        """See ``Clock``."""
        condition.wait(None if deadline is None else max(deadline - time.monotonic(), 0))

    def call_at(
        self, loop: asyncio.AbstractEventLoop, deadline: float, wake: Callable[[], None]
    ) -> Callable[[], None]:
        """See ``Clock``."""
        return loop.call_later(max(deadline - time.monotonic(), 0), wake).cancel

    def on_change(self, notify: Callable[[], None]) -> None:
        """Do nothing: this clock only passes."""
