"""Processes killed in the middle of their work: what was acknowledged is there exactly once.

One store lives through all kills of a test. What a killed process had acknowledged is known
from what it reported; what the store holds is read from outside, by a process that goes on.
"""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from tests.places.registry import SHARED
from tests.processes import PATIENCE, child
from tests.proof.journal import IN_FLIGHT, JOURNALS, SENDERS, Journal, Note, work_until_killed
from torpor import thaw
from torpor.storage import open_storage
from torpor.storage.check import check

# Emulators of servers are slow, on a busy machine yet more so.
some = pytest.param(5, marks=pytest.mark.timeout(240))
full_size = pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])


@pytest.mark.parametrize("kills", [some, full_size])
@pytest.mark.parametrize("url", SHARED, indirect=True)
def test_acknowledged_turns_survive_kills(url: str, kills: int) -> None:
    """After each SIGKILL every reply that came is kept once, in order (W-1, HC-8, HC-27)."""
    chance = random.Random(kills)
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
        for _ in range(chance.randrange(1, 100)):
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
        assert list(check(storage)) == []
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
