"""When to hibernate whom: live agents by when they came to rest.

One heap per idle timeout. An agent that is spoken to again only notes the new time on itself;
its entry is corrected when it comes to the front. So the front, once corrected, is both the next
to time out and, of that heap, the least recently used, and a turn costs no lock that all agents
share.
"""

from __future__ import annotations

import heapq
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.activation import Activation

__all__ = ["IdleTable"]

Entry = tuple[float, "Activation"]

_FEW = 64


class IdleTable:
    """The agents at rest, and some that are not any more. Thread-safe.

    An activation in here has ``listed`` set. Whoever takes it out clears that first and looks
    at the activation afterwards; who comes to rest does it the other way round: so none is lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_timeout: dict[float | None, list[Entry]] = {}
        self._watched: set[float] = set()
        self._gone = 0

    def __len__(self) -> int:
        return sum(len(heap) for heap in self._by_timeout.values()) - self._gone

    def add(self, activation: Activation, since: float) -> bool:
        """Note that ``activation`` came to rest at ``since``, unless it is listed already.

        True if nobody watches its timeout yet: the caller then sees to it that ``take_due`` is
        called when it is over, and again when that says so.
        """
        timeout = activation.registration.options.idle_timeout
        with self._lock:
            if activation.listed or activation.closed:
                return False
            activation.listed = True
            heap = self._by_timeout.setdefault(timeout, [])
            heapq.heappush(heap, (since, activation))
            if timeout is None or timeout in self._watched:
                return False
            self._watched.add(timeout)
            return True

    def discard(self, activation: Activation) -> None:
        """Forget ``activation``, which has left."""
        if not activation.listed:
            return
        with self._lock:
            if not activation.listed:
                return
            activation.listed = False
            self._gone += 1
            listed = sum(map(len, self._by_timeout.values()))
            if self._gone == listed or self._gone > max(_FEW, listed // 2):
                for heap in self._by_timeout.values():
                    heap[:] = [entry for entry in heap if entry[1].listed]
                    heapq.heapify(heap)
                self._gone = 0

    def take_due(self, timeout: float, now: float) -> tuple[list[Activation], float | None]:
        """Remove and return those of ``timeout`` that are due, and when the next one will be."""
        due: list[Activation] = []
        with self._lock:
            heap = self._by_timeout.get(timeout, [])
            while self._correct_front(heap):
                since, activation = heap[0]
                if since + timeout > now:
                    return due, since + timeout
                heapq.heappop(heap)
                activation.listed = False
                due.append(activation)
            self._watched.discard(timeout)
        return due, None

    def take_oldest(self, wanted: Callable[[Activation], bool]) -> Activation | None:
        """Remove and return the least recently used one that is ``wanted``, None if none is."""
        with self._lock:
            while (heap := self._oldest()) is not None:
                _, activation = heapq.heappop(heap)
                activation.listed = False
                if wanted(activation):
                    return activation
        return None

    def _oldest(self) -> list[Entry] | None:
        """Return the heap whose front is the least recently used of all, None if all are empty."""
        oldest: list[Entry] | None = None
        for heap in self._by_timeout.values():
            if self._correct_front(heap) and (oldest is None or heap[0] < oldest[0]):
                oldest = heap
        return oldest

    def _correct_front(self, heap: list[Entry]) -> bool:
        """Have an agent at rest, with the time it rests since, at the front; False: none is."""
        while heap:
            since, activation = heap[0]
            if not activation.listed:
                heapq.heappop(heap)
                self._gone -= 1
            elif (rests_since := activation.idle_since) == since:
                return True
            elif rests_since is not None:
                heapq.heapreplace(heap, (rests_since, activation))
            else:
                heapq.heappop(heap)
                activation.listed = False
                if (rests_since := activation.idle_since) is not None:
                    activation.listed = True
                    heapq.heappush(heap, (rests_since, activation))
        return False
