"""A wall clock that somebody sets."""

from __future__ import annotations

import random
import time

from torpor.clock import SystemClock

__all__ = ["SteppedClock"]


class SteppedClock(SystemClock):
    """It differs from those of other machines, and steps; the monotonic one can be relied on."""

    def __init__(self, seed: str) -> None:
        self._ahead = random.Random(seed).choice((0.0, 0.0, -3600.0, 3600.0))

    def step(self, seconds: float) -> None:
        """Set it forward, or back."""
        self._ahead += seconds

    def time(self) -> float:
        """Return the time that it shows."""
        return time.time() + self._ahead
