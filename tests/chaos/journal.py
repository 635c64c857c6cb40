"""The agents of the chaos runs, and what is known of a message from outside."""

from __future__ import annotations

import random
from typing import NamedTuple

from pydantic import Field

from torpor import Agent

__all__ = ["JOURNALS", "Journal", "Note"]

JOURNALS = 20


class Note(NamedTuple):
    """The message ``number`` of ``sender``."""

    sender: str
    number: int

    @property
    def journal(self) -> str:
        """The key of the journal that it is sent to."""
        return f"{random.Random(f'{self.sender} {self.number}').randrange(JOURNALS)}"


class Journal(Agent, kind="chaos_journal"):
    """Keeps every note in its thread; in its state how many, and the last of each sender."""

    count: int = 0
    last: dict[str, int] = Field(default_factory=dict)

    def keep(self, sender: str, number: int) -> int:
        """Keep a note; return its place in the thread."""
        self.count += 1
        self.last[sender] = number
        return self.thread.append("note", [sender, number]).seq
