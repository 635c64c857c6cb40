"""What all lives of a chaos run said, as it comes in."""

from __future__ import annotations

import threading
from collections import Counter

from tests.chaos.journal import Note

__all__ = ["PATIENCE", "Told"]

PATIENCE = 120.0
"""Seconds after which what should have happened long ago is taken to be stuck."""


class Told:
    """The events that ``senders`` and ``life`` describe. Thread-safe."""

    def __init__(self) -> None:
        self.acknowledged: dict[Note, int] = {}
        self.refused: set[Note] = set()
        self.errors: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.broken: list[str] = []
        self._changed = threading.Condition()

    def take(self, line: str) -> None:
        """Take one line."""
        mark, _, rest = line.rstrip("\n").partition(" ")
        with self._changed:
            if mark == "!":
                self.broken.append(rest)
            elif mark == "f":
                self.faults[rest] += 1
            else:
                sender, number, what = rest.split(" ", 2)
                self._take(mark, Note(sender, int(number)), what)
            self._changed.notify_all()

    def _take(self, mark: str, note: Note, what: str) -> None:
        if mark == "+":
            self.acknowledged[note] = int(what)
            return
        self.errors[f"{mark} {what}"] += 1
        if mark == "-":
            self.refused.add(note)

    def wait_for(self, more: int) -> None:
        """Wait until so many more notes were acknowledged."""
        with self._changed:
            goal = len(self.acknowledged) + more
            came = self._changed.wait_for(
                lambda: self.broken or len(self.acknowledged) >= goal, PATIENCE
            )
            assert came, f"nothing goes on: {len(self.acknowledged)} of {goal} acknowledged"
            assert not self.broken, self.broken[0]
