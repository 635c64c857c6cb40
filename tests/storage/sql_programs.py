"""What the processes do that the runtime tests on SQL servers start beside their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor import Agent, Runtime

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

__all__ = ["Tally", "count_until_killed", "hammer"]


class Tally(Agent, kind="tally"):
    """Counts, and keeps each number in its thread."""

    count: int = 0

    def add(self) -> int:
        """Count one."""
        self.count += 1
        self.thread.append("added", self.count)
        return self.count

    def history(self) -> list[int]:
        """Return every number that was kept."""
        return [entry.payload for entry in self.thread.entries()]


def hammer(url: str, keys: list[str], rounds: int, begin: Barrier, told: Connection) -> None:
    """Count each tally so many times; tell how many conflicts that took."""
    with Runtime(url) as runtime:
        for key in keys:
            runtime.get(Tally, key).ask(Tally.history)
        begin.wait()
        for _ in range(rounds):
            replies = [runtime.get(Tally, key).submit(Tally.add) for key in keys]
            for reply in replies:
                reply.get()
        told.send(runtime.stats().conflicts)


def count_until_killed(url: str, keys: list[str], told: Connection) -> None:
    """Count the tallies in turn, each as soon as the last one was acknowledged, and tell of it."""
    with Runtime(url) as runtime:
        while True:
            for key in keys:
                told.send((key, runtime.get(Tally, key).ask(Tally.add)))
