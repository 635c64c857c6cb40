"""How many aircraft are awake, counted from the runtime's own events."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from torpor import Hibernated, Thawed

if TYPE_CHECKING:
    from torpor import Runtime

__all__ = ["AIRCRAFT", "Census"]

AIRCRAFT = "aircraft/"


class Census:
    """The aircraft in memory now, the most there ever were at a time, and thaws from the store.

    An aircraft counts as awake from the moment it is in memory until it has left it.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.awake = 0
        self.most_awake = 0
        self.thaws = 0
        self._lock = threading.Lock()
        runtime.listen(self._thawed, Thawed)
        runtime.listen(self._hibernated, Hibernated)

    def _thawed(self, event: Thawed) -> None:
        if event.agent.startswith(AIRCRAFT):
            with self._lock:
                self.awake += 1
                self.most_awake = max(self.most_awake, self.awake)
                self.thaws += not event.fresh

    def _hibernated(self, event: Hibernated) -> None:
        if event.agent.startswith(AIRCRAFT):
            with self._lock:
                self.awake -= 1
