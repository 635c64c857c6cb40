"""What a turn reads while other processes write: an old state, a fresh one, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import PATIENCE, Scripted, Watch, other_process_adds
from torpor import Agent, CorruptRecordError, Runtime, Thawed, TorporError
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.ref import AgentRef
    from torpor.storage import Storage


def test_a_turn_that_changes_nothing_may_answer_from_a_replaced_state(
    other: Runtime, agent: AgentRef[Scripted]
) -> None:
    """Several processes are safe, not coherent (DESIGN 5, Several processes)."""
    other_process_adds(other, 10)

    assert agent.ask(Scripted.read) == 1


def test_fresh_compares_the_revision_first(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted]
) -> None:
    """``options(fresh=True)`` sees what other processes wrote (DESIGN 5, Several processes)."""
    watch = Watch(ticking)
    fresh = agent.options(fresh=True)

    assert fresh.ask(Scripted.read) == 1
    assert watch.of(Thawed) == []

    other_process_adds(other, 10)
    assert fresh.ask(Scripted.read) == 11
    assert len(watch.of(Thawed)) == 1


def test_fresh_reads_the_thread_anew_too(other: Runtime, agent: AgentRef[Scripted]) -> None:
    """Of a replaced copy nothing is left, not even what it knew of its thread."""
    agent.ask(Scripted.note, "mine")
    assert agent.ask(Scripted.notes) == ["mine"]
    other.get(Scripted, "a").ask(Scripted.note, "other")

    assert agent.options(fresh=True).ask(Scripted.notes) == ["mine", "other"]
    assert agent.ask(Scripted.note, "again") == 3


def test_fresh_waits_for_what_is_unsaved(
    other: Runtime, agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """A copy with turns that are not saved yet is not replaced under them."""
    with storage.hang_next("commit") as hang:
        writing = agent.submit(Scripted.add, 1)
        assert hang.entered.wait(PATIENCE)
        reading = agent.options(fresh=True).submit(Scripted.read)
        other_process_adds(other, 10)

    assert (writing.get(), reading.get()) == (12, 12)


def test_fresh_sees_that_the_agent_was_deleted(other: Runtime, agent: AgentRef[Scripted]) -> None:
    """An agent that another process deleted is a fresh one."""
    other.get(Scripted, "a").delete()

    assert agent.options(fresh=True).ask(Scripted.read) == 0


class Diary(Agent):
    """Reads its thread from the storage."""

    pages: int = 0

    def write(self) -> int:
        """Write a page."""
        self.pages += 1
        self.thread.append("page", self.pages)
        return self.pages

    def trim(self) -> None:
        """Keep the last page only."""
        self.thread.trim(self.thread.rev - 1)

    def rev(self) -> int:
        """Return how many pages were ever written, which its record tells."""
        return self.thread.rev

    def pages_kept(self) -> list[int]:
        """Return all pages that are there."""
        return [entry.payload for entry in self.thread.entries()]

    def pages_kept_or_none(self) -> list[int]:
        """Take any error for an empty diary."""
        try:
            return self.pages_kept()
        except TorporError:
            return []


@pytest.mark.parametrize("read", [Diary.pages_kept, Diary.pages_kept_or_none])
def test_a_thread_that_is_gone_from_under_an_old_copy_is_no_damage(
    any_storage: Storage, read: Callable[[Diary], list[int]]
) -> None:
    """A turn that finds its thread deleted or trimmed by another process runs on the newest."""
    with Runtime(any_storage) as runtime, Runtime(any_storage) as other:
        mine, theirs = runtime.get(Diary, "a"), other.get(Diary, "a")
        for _ in range(3):
            mine.ask(Diary.write)
        assert theirs.ask(Diary.rev) == 3  # thawed; the entries are still to be read
        mine.ask(Diary.trim)

        assert theirs.ask(read) == [3]

        theirs.hibernate()
        assert theirs.ask(Diary.rev) == 3
        mine.delete()
        mine.ask(Diary.write)

        assert theirs.ask(read) == [1]


def test_damage_of_a_thread_is_told_as_damage(any_storage: Storage) -> None:
    """Entries that are missing though nobody else wrote are a CorruptRecordError, no conflict."""
    with FaultyStorage(any_storage) as storage, Runtime(storage) as runtime:
        diary = runtime.get(Diary, "a")
        diary.ask(Diary.write)
        diary.hibernate()
        storage.fail_next("read_entries", error=CorruptRecordError("diary/a", "made up"))

        with pytest.raises(CorruptRecordError):
            diary.ask(Diary.pages_kept)
        assert runtime.stats().conflicts == 0
