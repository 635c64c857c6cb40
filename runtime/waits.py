"""The wait-for graph of agents whose turns wait for a reply, to find rings at once.

Knapp, "Deadlock Detection in Distributed Databases", ACM Computing Surveys 19 (1987): with
single-resource waits a deadlock is a ring, and it is found by whoever closes it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torpor.storage.errors import CallCycleError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["WaitGraph"]


class WaitGraph:
    """Which agent's turn waits for which agents' replies, by address. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._edges: dict[str, list[str]] = {}

    @contextmanager
    def waiting(self, waiter: str, target: str) -> Generator[None]:
        """Note a wait while the block runs; ``CallCycleError`` if it would close a ring."""
        with self._lock:
            chain = self._path(target, waiter)
            if chain is not None:
                raise CallCycleError([waiter, *chain])
            self._edges.setdefault(waiter, []).append(target)
        try:
            yield
        finally:
            with self._lock:
                targets = self._edges[waiter]
                targets.remove(target)
                if not targets:
                    del self._edges[waiter]

    def _path(self, start: str, goal: str) -> list[str] | None:
        paths = [[start]]
        seen = {start}
        while paths:
            path = paths.pop()
            if path[-1] == goal:
                return path
            for following in self._edges.get(path[-1], ()):
                if following not in seen:
                    seen.add(following)
                    paths.append([*path, following])
        return None
