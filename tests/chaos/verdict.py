"""What is stored, compared from outside with what was acknowledged and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.journal import JOURNALS, Journal, Note
from torpor import thaw
from torpor.storage import open_storage

if TYPE_CHECKING:
    from tests.chaos.workers import Told

__all__ = ["judge"]


def judge(url: str, told: Told) -> int:
    """Assert that nothing is missing, doubled, out of order or damaged; return what is kept."""
    kept: dict[Note, int] = {}
    with open_storage(url) as storage:
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
    missing = [note for note, place in told.acknowledged.items() if kept.get(note) != place]
    assert not missing, f"acknowledged, and not there: {missing[:5]} of {len(missing)}"
    done = told.refused & kept.keys()
    assert not done, f"said not to have happened, and there: {sorted(done)[:5]} of {len(done)}"
    return len(kept)
