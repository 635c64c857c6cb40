"""The agents of the chaos runs, and what is known of a message from outside."""

from __future__ import annotations

import random
from typing import NamedTuple

from pydantic import Field

from torpor import Agent

__all__ = ["ARCHIVES", "JOURNALS", "Archive", "Journal", "Note"]

JOURNALS = 20
ARCHIVES = 2
_ONE_COPIED_OF = 5


class Note(NamedTuple):
    """The message ``number`` of ``sender``."""

    sender: str
    number: int

    @property
    def journal(self) -> str:
        """The key of the journal that it is sent to."""
        return f"{random.Random(f'{self.sender} {self.number}').randrange(JOURNALS)}"

    @property
    def archive(self) -> str | None:
        """The key of the archive that gets a copy, if one does."""
        if self.number % _ONE_COPIED_OF:
            return None
        return f"{self.number // _ONE_COPIED_OF % ARCHIVES}"


class Archive(Agent, kind="chaos_archive"):
    """Keeps in its thread what journals send it by durable messages."""

    def file(self, journal: str, place: int, sender: str, number: int) -> None:
        """Keep a copy of what stands at ``place`` in ``journal``."""
        self.thread.append("copy", [journal, place, sender, number])


class Journal(Agent, kind="chaos_journal"):
    """Keeps every note in its thread; in its state how many, and the last of each sender."""

    count: int = 0
    last: dict[str, int] = Field(default_factory=dict)

    def keep(self, sender: str, number: int) -> int:
        """Keep a note, send some to an archive; return its place in the thread."""
        self.count += 1
        self.last[sender] = number
        place = self.thread.append("note", [sender, number]).seq
        archive = Note(sender, number).archive
        if archive is not None:
            self.runtime.get(Archive, archive).send(Archive.file, self.id, place, sender, number)
        return place
