"""Processes killed in the middle of their work: what was acknowledged is there exactly once.

One store lives through all kills of a test. What a killed process had acknowledged is known
from what it reported; what the store holds is read from outside, by a process that goes on.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest
from pydantic import Field

from tests.stress.processes import PATIENCE, child
from torpor import Agent, Runtime, thaw
from torpor.storage import open_storage

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from torpor import Reply

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


full_size = pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])


@pytest.mark.parametrize("kills", [5, full_size])
@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_acknowledged_turns_survive_kills(tmp_path: Path, scheme: str, kills: int) -> None:
    """After each SIGKILL every reply that came is kept once, in order (cases 8, 27, W-1)."""
    url = f"{scheme}:///{tmp_path}/store"
    chance = random.Random(f"{scheme} {kills}")
    places: dict[Note, int] = {}
    for life in range(kills):
        senders = [f"life {life} sender {n}" for n in range(SENDERS)]
        told = _live_and_die(url, senders, chance)
        assert told
        places |= told
        _check(url, places)


def _live_and_die(url: str, senders: list[str], chance: random.Random) -> dict[Note, int]:
    """Kill a process at a random moment of its work; return where its notes were, as it said."""
    told: dict[Note, int] = {}
    with child(work_until_killed, url, senders) as (process, receiver):
        for _ in range(chance.randrange(1, 400)):
            assert receiver.poll(PATIENCE), "the process acknowledged nothing"
            note, place = receiver.recv()
            told[note] = place
        process.join(chance.uniform(0, 0.005))
        process.kill()
        with suppress(EOFError, OSError):  # it may be killed while it tells
            while True:
                note, place = receiver.recv()
                told[note] = place
    return told


def _check(url: str, places: dict[Note, int]) -> None:
    """Compare what is stored with what was acknowledged and with what was sent at most."""
    acknowledged: dict[str, int] = {}
    for note in places:
        acknowledged[note.sender] = max(note.number, acknowledged.get(note.sender, -1))
    kept: dict[Note, int] = {}
    with open_storage(url) as storage:
        for key in map(str, range(JOURNALS)):
            journal = thaw(storage, Journal, key)
            if journal is None:
                continue
            last: dict[str, int] = {}
            for place, entry in enumerate(journal.thread.entries()):
                note = Note(*entry.payload)
                assert entry.seq == place
                assert note.journal == key
                assert note not in kept, "handled twice"
                assert note.number > last.get(note.sender, -1), "out of order"
                assert note.number <= acknowledged.get(note.sender, -1) + IN_FLIGHT, "never sent"
                kept[note] = place
                last[note.sender] = note.number
            assert journal.count == journal.thread.rev == len(journal.thread)
            assert journal.last == last
    assert places.items() <= kept.items()


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
