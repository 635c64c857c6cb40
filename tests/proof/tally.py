"""The agent that the proofs are about."""

from __future__ import annotations

from torpor import Agent

__all__ = ["Tally"]


class Tally(Agent, kind="tally"):
    """Counts, and keeps each number in its thread."""

    count: int = 0

    def add(self) -> int:
        """Count one."""
        self.count += 1
        self.thread.append("added", self.count)
        return self.count

    def newest(self, count: int) -> list[int]:
        """Return the last numbers that were kept, the oldest of them first."""
        return [entry.payload for entry in self.thread.tail(count)]

    def history(self) -> list[int]:
        """Return every number that was kept."""
        return [entry.payload for entry in self.thread.entries()]
