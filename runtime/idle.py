"""When to hibernate whom: live agents in the order in which they were last used.

One insertion-ordered dict per idle timeout: an agent that comes to rest goes to the end, so
the first of a dict is both the next to time out and, of that dict, the least recently used.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.activation import Activation

__all__ = ["IdleTable"]


class IdleTable:
    """The agents at rest. Thread-safe; each operation costs the same for any number of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_timeout: dict[float | None, dict[Activation, float]] = {}
        self._watched: set[float] = set()

    def __len__(self) -> int:
        return sum(len(resting) for resting in self._by_timeout.values())

    def add(self, activation: Activation, now: float, *, again: bool = True) -> bool:
        """Note that ``activation`` came to rest; without ``again``, unless that is noted already.

        True if nobody watches its timeout yet: the caller then sees to it that ``take_due`` is
        called when it is over, and again when that says so.
        """
        timeout = activation.registration.options.idle_timeout
        with self._lock:
            resting = self._by_timeout.setdefault(timeout, {})
            if activation in resting and not again:
                return False
            resting.pop(activation, None)
            resting[activation] = now
            if timeout is None or timeout in self._watched:
                return False
            self._watched.add(timeout)
            return True

    def discard(self, activation: Activation) -> None:
        """Forget ``activation``."""
        with self._lock:
            resting = self._by_timeout.get(activation.registration.options.idle_timeout)
            if resting is not None:
                resting.pop(activation, None)

    def take_due(self, timeout: float, now: float) -> tuple[list[Activation], float | None]:
        """Remove and return those of ``timeout`` that are due, and when the next one will be."""
        due: list[Activation] = []
        with self._lock:
            resting = self._by_timeout.get(timeout, {})
            for activation, since in resting.items():
                if since + timeout > now:
                    following = since + timeout
                    break
                due.append(activation)
            else:
                following = None
                self._watched.discard(timeout)
            for activation in due:
                del resting[activation]
        return due, following

    def take_oldest(self, wanted: Callable[[Activation], bool]) -> Activation | None:
        """Remove and return the least recently used one that is ``wanted``, None if none is."""
        with self._lock:
            while True:
                fronts = [
                    (since, activation, resting)
                    for resting in self._by_timeout.values()
                    for activation, since in _first(resting)
                ]
                if not fronts:
                    return None
                _, activation, resting = min(fronts, key=lambda front: front[0])
                del resting[activation]
                if wanted(activation):
                    return activation


def _first(resting: dict[Activation, float]) -> list[tuple[Activation, float]]:
    for item in resting.items():
        return [item]
    return []
