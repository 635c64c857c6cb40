"""A clock that moves when it is told to."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["ManualClock"]


class ManualClock:
    """Both clocks, standing still until ``advance``. Pass it as ``Runtime(clock=…)``.

    Idle timeouts, call timeouts, back-off and flush intervals then pass only when the test
    says so. ``set_time`` steps the wall clock alone, as an administrator may. Thread-safe.
    """

    def __init__(self, time: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()
        self._monotonic = 0.0
        self._time = time
        self._sleepers: list[tuple[float, threading.Lock]] = []
        self._alarms: list[tuple[float, Callable[[], None]]] = []
        self._listeners: list[Callable[[], None]] = []

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._monotonic

    def time(self) -> float:
        """Return the wall clock."""
        return self._time

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks, and wake whoever waited for that."""
        with self._lock:
            self._monotonic += seconds
            self._time += seconds
            due = [lock for deadline, lock in self._sleepers if deadline <= self._monotonic]
            self._sleepers = [s for s in self._sleepers if s[0] > self._monotonic]
            calls = [wake for deadline, wake in self._alarms if deadline <= self._monotonic]
            self._alarms = [alarm for alarm in self._alarms if alarm[0] > self._monotonic]
        for lock in due:
            with contextlib.suppress(RuntimeError):  # released already: what it waited for came
                lock.release()
        for call in (*calls, *self._listeners):
            call()

    def set_time(self, time: float) -> None:
        """Step the wall clock, forward or back."""
        self._time = time

    def acquire(self, lock: threading.Lock, deadline: float | None) -> bool:
        """Acquire ``lock``, or return False once ``advance`` has passed ``deadline``."""
        if deadline is not None:
            with self._lock:
                if deadline <= self._monotonic:
                    return lock.acquire(blocking=False)
                self._sleepers.append((deadline, lock))
        lock.acquire()
        with self._lock:
            self._sleepers = [s for s in self._sleepers if s[1] is not lock]
        return deadline is None or self._monotonic < deadline

    def wait(self, condition: threading.Condition, deadline: float | None) -> None:
        """Wait on ``condition``; ``advance`` notifies it."""
        del deadline
        condition.wait()

    def call_at(
        self, loop: asyncio.AbstractEventLoop, deadline: float, wake: Callable[[], None]
    ) -> Callable[[], None]:
        """Call ``wake`` once ``advance`` has passed ``deadline``."""
        del loop
        alarm = (deadline, wake)
        with self._lock:
            self._alarms.append(alarm)

        def cancel() -> None:
            with self._lock, contextlib.suppress(ValueError):  # it has been called
                self._alarms.remove(alarm)

        return cancel

    def on_change(self, notify: Callable[[], None]) -> None:
        """Call ``notify`` after each ``advance``."""
        self._listeners.append(notify)
