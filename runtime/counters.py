"""Counts that many threads add to without a lock."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Counter"]


class Counter:
    """A count that only grows. ``add()`` is atomic and takes no lock, nor a frame."""

    __slots__ = ("_count", "_read", "add")

    def __init__(self) -> None:
        # next() on these is one step of C: no two threads get the same number.
        self._count = itertools.count()
        self._read = itertools.count()
        self.add: Callable[[], object] = self._count.__next__

    def value(self) -> int:
        """Return how many were counted."""
        return next(self._count) - next(self._read)
