"""What is stored, compared from outside with what was acknowledged and refused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.chaos.clock import SteppedClock
from tests.chaos.journal import ARCHIVES, JOURNALS, Archive, Journal, Note
from tests.chaos.told import PATIENCE
from torpor import Runtime, thaw
from torpor.storage.check import check

if TYPE_CHECKING:
    from tests.chaos.told import Told
    from torpor.storage import Storage

__all__ = ["judge"]

_FOR_EVER = 1e12
_A_YEAR = 365 * 86400.0  # more than the clocks of lives were ever set forward


def judge(storage: Storage, told: Told) -> int:
    """Assert that nothing is missing, doubled, out of order or damaged; return what is kept."""
    damage = list(check(storage))
    assert not damage, damage
    kept = _journals(storage)
    missing = [note for note, place in told.acknowledged.items() if kept.get(note) != place]
    assert not missing, f"acknowledged, and not there: {missing[:5]} of {len(missing)}"
    done = told.refused & kept.keys()
    assert not done, f"said not to have happened, and there: {sorted(done)[:5]} of {len(done)}"
    _deliver_all(storage)
    _judge_archives(storage, kept)
    return len(kept)


def _journals(storage: Storage) -> dict[Note, int]:
    """Return the place of each note, after a look at the order, the gaps and the state."""
    kept: dict[Note, int] = {}
    for key in map(str, range(JOURNALS)):
        journal = thaw(storage, Journal, key)
        if journal is None:
            continue
        last: dict[str, int] = {}
        for place, entry in enumerate(journal.thread.entries()):
            note = Note(*entry.payload)
            assert entry.seq == place, f"{key}: a gap before {entry}"
            assert note.journal == key, f"{note} was kept by {key}"
            assert note not in kept, f"{note} was handled twice"
            assert note.number > last.get(note.sender, -1), f"{key}: {note} is out of order"
            kept[note] = place
            last[note.sender] = note.number
        assert journal.count == journal.thread.rev == len(journal.thread), key
        assert journal.last == last, key
    return kept


def _deliver_all(storage: Storage) -> None:
    """Bring what waits in outboxes to the archives, also what is due by clocks that went wrong."""
    clock = SteppedClock("the last one")
    clock.step(_A_YEAR)
    end = time.monotonic() + PATIENCE
    with Runtime(storage, agents=[Journal, Archive], clock=clock, wake_interval=0.05) as runtime:
        while due := storage.list_due(_FOR_EVER):
            assert time.monotonic() < end, f"still waiting to be delivered: {due}"
            time.sleep(0.02)
        assert list(runtime.dead_letters()) == []


def _judge_archives(storage: Storage, kept: dict[Note, int]) -> None:
    filed: set[Note] = set()
    for key in map(str, range(ARCHIVES)):
        archive = thaw(storage, Archive, key)
        last: dict[str, int] = {}
        for entry in archive.thread.entries() if archive is not None else ():
            journal, place, *sent = entry.payload
            note = Note(*sent)
            assert note.archive == key, f"{note} was filed by {key}"
            assert (note.journal, kept.get(note)) == (journal, place), f"{note} never happened"
            assert note not in filed, f"{note} was filed twice"
            assert place > last.get(journal, -1), f"{key}: {note} is out of order"
            filed.add(note)
            last[journal] = place
    missing = {note for note in kept if note.archive is not None} - filed
    assert not missing, f"sent durably, and lost: {sorted(missing)[:5]} of {len(missing)}"
