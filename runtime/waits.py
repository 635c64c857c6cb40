"""The wait-for graph of agents whose turns wait for a reply, to find rings at once.

Knapp, "Deadlock Detection in Distributed Databases", ACM Computing Surveys 19 (1987): with
single-resource waits a deadlock is a ring, and it is found by whoever closes it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torpor.storage.errors import CallCycleError

if TYPE_CHECKING:
    from collections.abc import Generator

    from torpor.calls import Reply

__all__ = ["WaitGraph"]


class WaitGraph:
    """Which agent's turn waits for which agents' replies, by address. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._edges: dict[str, list[tuple[str, Reply[Any]]]] = {}

    @contextmanager
    def waiting(self, waiter: str, target: str, reply: Reply[Any]) -> Generator[None]:
        """Note a wait while the block runs; ``CallCycleError`` if it would close a ring."""
        edge = (target, reply)
        with self._lock:
            chain = self._path(target, waiter)
            if chain is not None:
                raise CallCycleError([waiter, *chain])
            self._edges.setdefault(waiter, []).append(edge)
        try:
            yield
        finally:
            with self._lock:
                edges = self._edges[waiter]
                edges.remove(edge)
                if not edges:
                    del self._edges[waiter]

    def _path(self, start: str, goal: str) -> list[str] | None:
        paths = [[start]]
        seen = {start}
        while paths:
            path = paths.pop()
            if path[-1] == goal:
                return path
            for following, reply in self._edges.get(path[-1], ()):
                # A reply that is there is waited for no more, even if its waiter sleeps yet.
                if following not in seen and not reply.done:
                    seen.add(following)
                    paths.append([*path, following])
        return None
