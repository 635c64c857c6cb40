"""What a process does until it is killed; it imports no more than it must, to start soon."""

from __future__ import annotations

import random
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from torpor import Agent, Runtime

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from torpor import Reply

__all__ = ["IN_FLIGHT", "JOURNALS", "SENDERS", "Journal", "Note", "work_until_killed"]

JOURNALS = 20
SENDERS = 4
IN_FLIGHT = 8


class Note(NamedTuple):
    """The message ``number`` of ``sender``."""

    sender: str
    number: int

    @property
    def journal(self) -> str:
        """The key of the journal that it is sent to."""
        return f"{random.Random(f'{self.sender} {self.number}').randrange(JOURNALS)}"


class Journal(Agent):
    """Keeps every note in its thread; in its state how many, and the last of each sender."""

    count: int = 0
    last: dict[str, int] = Field(default_factory=dict)

    def keep(self, sender: str, number: int) -> int:
        """Keep a note; return its place in the thread."""
        self.count += 1
        self.last[sender] = number
        return self.thread.append("note", [sender, number]).seq


def work_until_killed(url: str, senders: list[str], reports: Connection) -> None:
    """Send notes from a thread for each sender, for ever; report those that are acknowledged."""
    one_at_a_time = threading.Lock()

    def send(sender: str) -> None:
        under_way: deque[tuple[Note, Reply[int]]] = deque()
        number = 0
        while True:
            note = Note(sender, number)
            reply = runtime.get(Journal, note.journal).submit(Journal.keep, sender, number)
            under_way.append((note, reply))
            if len(under_way) == IN_FLIGHT:
                oldest, reply = under_way.popleft()
                place = reply.get()
                with one_at_a_time:
                    reports.send((oldest, place))
            number += 1

    with Runtime(url, idle_timeout=0.001, max_live=JOURNALS // 4) as runtime:
        threads = [threading.Thread(target=send, args=(sender,)) for sender in senders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
