"""The judge of the chaos runs sees what it is there to see."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.chaos.journal import Archive, Journal, Note
from tests.chaos.told import Told
from tests.chaos.verdict import judge
from torpor import Runtime
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage

NOTES = [Note("a", number) for number in range(60)]
OTHERS = [Note("b", number) for number in range(60)]
COPIED = NOTES[0]


@pytest.fixture
def storage() -> Iterator[Storage]:
    """Return what a run without trouble left, but for what waits to be delivered."""
    with MemoryStorage() as storage:
        keep(storage, *NOTES)
        yield storage


@pytest.fixture
def told() -> Told:
    """Return what the callers of that run said."""
    told = Told()
    places: Counter[str] = Counter()
    for note in NOTES:
        told.take(f"+ {note.sender} {note.number} {places[note.journal]}\n")
        places[note.journal] += 1
    return told


def keep(storage: Storage, *notes: Note) -> None:
    """Do what the senders do."""
    with Runtime(storage) as runtime:
        for note in notes:
            runtime.get(Journal, note.journal).ask(Journal.keep, *note)


def test_sound_run(storage: Storage, told: Told) -> None:
    """Nothing is wrong, and all was kept, also what nobody acknowledged."""
    keep(storage, *OTHERS)

    assert judge(storage, told) == len(NOTES) + len(OTHERS)


def lose(storage: Storage, told: Told) -> None:
    """Acknowledge what was not kept."""
    del storage
    told.take("+ a 60 3\n")


def move(storage: Storage, told: Told) -> None:
    """Acknowledge it at another place."""
    del storage
    told.take("+ a 0 7\n")


def refuse(storage: Storage, told: Told) -> None:
    """Say that it did not happen."""
    del storage
    told.take("- a 0 SaveError\n")


def double(storage: Storage, told: Told) -> None:
    """Keep it again."""
    del told
    keep(storage, NOTES[-1])


def disorder(storage: Storage, told: Told) -> None:
    """Keep newer ones before older ones."""
    del told
    keep(storage, *reversed(OTHERS))


def break_thread(storage: Storage, told: Told) -> None:
    """Remove entries that records point at."""
    del told
    vars(storage)["_journals"].clear()


def file_again(storage: Storage, told: Told) -> None:
    """Deliver a copy twice."""
    del told
    assert COPIED.archive is not None
    with Runtime(storage) as runtime:
        archive = runtime.get(Archive, COPIED.archive)
        archive.ask(Archive.file, COPIED.journal, 0, *COPIED)


def forget_copies(storage: Storage, told: Told) -> None:
    """Deliver all copies, and lose some."""
    judge(storage, told)
    with Runtime(storage) as runtime:
        runtime.get(Archive, "0").delete()


@pytest.mark.parametrize(
    ("harm", "verdict"),
    [
        (lose, "acknowledged, and not there"),
        (move, "acknowledged, and not there"),
        (refuse, "said not to have happened"),
        (double, "handled twice"),
        (disorder, "out of order"),
        (break_thread, "pointer"),
        (file_again, "filed twice"),
        (forget_copies, "sent durably, and lost"),
    ],
)
def test_harm_is_seen(
    storage: Storage, told: Told, harm: Callable[[Storage, Told], None], verdict: str
) -> None:
    """Whatever is missing, doubled, moved, damaged or there though refused fails the run."""
    harm(storage, told)

    with pytest.raises(AssertionError, match=verdict):
        judge(storage, told)
