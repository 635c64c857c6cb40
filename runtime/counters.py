"""Counts that many threads add to without a lock."""

from __future__ import annotations

import itertools

__all__ = ["Counter"]


class Counter:
    """A count that only grows. ``add`` is atomic and takes no lock."""

    __slots__ = ("_count", "_read")

    def __init__(self) -> None:
        # next() on these is one step of C: no two threads get the same number.
        self._count = itertools.count()
        self._read = itertools.count()

    def add(self) -> None:
        """Count one more."""
        next(self._count)

    def value(self) -> int:
        """Return how many were counted."""
        return next(self._count) - next(self._read)
