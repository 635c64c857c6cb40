"""Saving is one step: all of it or nothing, once, and never over somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field, JsonValue

from tests.behaviours.kit import Counter, Watch, saved
from torpor import (
    Agent,
    ConflictDetected,
    ConflictError,
    InvalidStateError,
    Runtime,
    SaveFailed,
    StorageClosedError,
    hibernate,
    thaw,
)

if TYPE_CHECKING:
    from torpor.storage import Change
    from torpor.storage.faulty import FaultyStorage


class Lazy(Counter, durability="hibernate"):
    """Is stored when it falls asleep."""


def test_state_and_entries_are_one_change(storage: FaultyStorage) -> None:
    """What one turn did is written at once: nobody can see one without the other (PE-20, W-22)."""

    class Both(Counter):
        """Changes state and thread in one turn."""

        def do(self) -> None:
            """Do both."""
            self.count += 1
            self.note("did it")

    with Runtime(storage) as runtime:
        runtime.get(Both, "a").ask(Both.do)

    [[change]] = storage.batches
    assert change.put is not None
    assert change.thread is not None
    assert (change.put.data, len(change.thread.entries)) == ('{"count":1}', 1)


@pytest.mark.parametrize("after", [False, True])
def test_a_failed_save_is_sent_again_once(storage: FaultyStorage, *, after: bool) -> None:
    """After a failure the same change is sent again, and applied once (PE-20, PE-21, W-1)."""
    with Runtime(storage) as runtime:
        watch = Watch(runtime)
        ref = runtime.get(Counter, "a")
        storage.fail_next("commit", after=after, times=2)

        assert ref.ask(Counter.note, "one", "two") == 2

        assert len(watch.of(SaveFailed)) == 2
        assert len({batch[0].id for batch in storage.batches}) == 1
        ref.hibernate()
        assert ref.ask(Counter.notes) == ["one", "two"]


def test_only_new_entries_are_appended(storage: FaultyStorage) -> None:
    """Each save brings what was appended since the last one, on the known revision (PE-21)."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Lazy, "a")
        for texts in (["one", "two"], ["three"], []):
            ref.ask(Lazy.note, *texts)
            ref.hibernate()
        ref.hibernate()

    sizes = [len(change.thread.entries) if change.thread else 0 for change in flat(storage)]
    assert sizes == [2, 1]
    assert [change.expected_rev for change in flat(storage)] == [0, 1]


def flat(storage: FaultyStorage) -> list[Change]:
    """Return every change that was sent, in order."""
    return [change for batch in storage.batches for change in batch]


def test_an_empty_append_writes_nothing(storage: FaultyStorage) -> None:
    """Looking at an empty thread makes none; such an agent thaws (PE-22, W-3)."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Counter, "a")
        assert ref.ask(Counter.note) == 0
        assert ref.ask(Counter.notes) == []
        assert storage.calls["commit"] == 0
        ref.ask(Counter.add)
        ref.hibernate()

        assert ref.ask(Counter.note) == 0
        assert ref.ask(Counter.add) == 2


def test_rev_counts_what_was_trimmed_away(storage: FaultyStorage) -> None:
    """A thread's revision is the number of entries ever appended, in every life (PE-23)."""

    class Trimmed(Counter):
        """Keeps the last two notes."""

        def keep(self, text: str) -> tuple[int, int]:
            """Append a note, forget all but two; return what was and what is."""
            self.note(text)
            self.thread.trim(self.thread.rev - 2)
            return self.thread.rev, len(self.thread)

    with Runtime(storage) as runtime:
        ref = runtime.get(Trimmed, "a")
        assert [ref.ask(Trimmed.keep, text) for text in "abcd"] == [(1, 1), (2, 2), (3, 2), (4, 2)]
        ref.hibernate()
        assert ref.ask(Trimmed.keep, "e") == (5, 2)
        assert ref.ask(Trimmed.notes) == ["d", "e"]


def test_a_stored_thread_that_went_on_is_followed(storage: FaultyStorage) -> None:
    """If somebody else appended meanwhile, the turn runs again behind that (PE-24, PE-25, W-20)."""
    with Runtime(storage) as one, Runtime(storage) as two:
        watch = Watch(one)
        ours, theirs = one.get(Counter, "a"), two.get(Counter, "a")
        assert ours.ask(Counter.note, "one") == 1
        assert theirs.ask(Counter.note, "two") == 2

        assert ours.ask(Counter.note, "three") == 3

        assert [event.lost_turns for event in watch.of(ConflictDetected)] == [0]
        assert ours.ask(Counter.notes) == ["one", "two", "three"]
        assert theirs.options(fresh=True).ask(Counter.notes) == ["one", "two", "three"]


def test_an_agent_that_was_deleted_elsewhere_begins_anew(storage: FaultyStorage) -> None:
    """A thread that is gone from under a live agent is not brought back (PE-24, HC-30)."""
    with Runtime(storage) as one, Runtime(storage) as two:
        ours = one.get(Counter, "a")
        ours.ask(Counter.note, "old")
        two.get(Counter, "a").delete()

        assert ours.ask(Counter.note, "new") == 1
        assert ours.ask(Counter.notes) == ["new"]


def test_a_copy_that_is_stale_is_refused(storage: FaultyStorage) -> None:
    """Saving a copy of what was written since is a conflict; nothing is stored (PE-25, W-19)."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Counter, "a")
        ref.ask(Counter.note, "one")
        copy = runtime.thaw(Counter, "a")
        assert copy is not None
        copy.note("mine")
        copy.count = 99
        ref.ask(Counter.note, "two")

        with pytest.raises(ConflictError) as caught:
            runtime.hibernate(copy)

        assert (caught.value.expected, caught.value.found) == (1, 2)
        assert caught.value.outcome == "not_applied"
        assert ref.options(fresh=True).ask(Counter.notes) == ["one", "two"]
        assert ref.ask(Counter.read) == 0


def test_a_copy_that_may_have_been_saved_is_unknown(storage: FaultyStorage) -> None:
    """A conflict on a resend does not claim that nothing was applied (PE-25)."""
    hibernate(storage, Counter(), "a")
    copy = thaw(storage, Counter, "a")
    assert copy is not None
    storage.fail_next("commit")
    storage.conflict_next()

    with pytest.raises(ConflictError) as caught:
        hibernate(storage, copy)

    assert caught.value.outcome == "unknown"


def test_a_copy_keeps_its_new_entries_for_the_next_try(storage: FaultyStorage) -> None:
    """A copy whose save failed can be saved again; its entries are appended once (PE-21)."""
    hibernate(storage, Counter(), "a")
    copy = thaw(storage, Counter, "a")
    assert copy is not None
    copy.note("one")
    storage.fail_next("commit", error=StorageClosedError("for good"))
    with pytest.raises(StorageClosedError):
        hibernate(storage, copy)

    hibernate(storage, copy)
    copy.note("two")
    hibernate(storage, copy)

    again = thaw(storage, Counter, "a")
    assert again is not None
    assert again.notes() == ["one", "two"]


# -- hooks that fail ---------------------------------------------------------------------------


class Moody(Counter):
    """Saves what it is told to."""

    answer: JsonValue = None

    def prepare(self, answer: JsonValue) -> None:
        """Save ``answer`` from now on."""
        self.answer = answer

    def checkpoint(self) -> dict[str, Any]:
        """Return or raise what was prepared."""
        if self.answer == "raise":
            msg = "not today"
            raise LookupError(msg)
        if self.answer is not None:
            answer: Any = self.answer
            return answer  # type: ignore[no-any-return]
        return super().checkpoint()


@pytest.mark.parametrize("answer", ["raise", "text", [1], 7, True], ids=repr)
def test_a_failing_checkpoint_hook_stores_nothing(
    storage: FaultyStorage, answer: JsonValue
) -> None:
    """A turn whose state can't be taken is rolled back, with the cause (PE-20, PE-26, PE-27)."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Moody, "a")
        ref.ask(Moody.add)
        before = saved(storage, ref.address)

        with pytest.raises(InvalidStateError, match=r"not today|returned") as caught:
            ref.ask(Moody.prepare, answer)

        assert isinstance(caught.value.__cause__, LookupError | TypeError)
        assert saved(storage, ref.address) == before
        assert ref.ask(Moody.add) == 2


def test_an_invalid_checkpoint_hook_stores_nothing_by_hand(storage: FaultyStorage) -> None:
    """The same holds for a copy that is hibernated by hand (PE-26, PE-27)."""
    answers: list[JsonValue] = ["raise", [1]]
    for answer in answers:
        with pytest.raises(InvalidStateError):
            hibernate(storage, Moody(answer=answer), "a")

    assert storage.calls == {}


class Loose(Agent):
    """Has fields that can be brought into a wrong state without an assignment."""

    numbers: list[int] = Field(default_factory=list[int])
    anything: Any = None

    def append(self, value: Any) -> int:
        """Append what may be no number."""
        self.numbers.append(value)
        return len(self.numbers)

    def hold(self, value: Any) -> None:
        """Hold anything."""
        self.anything = value


def test_a_state_that_could_not_be_thawed_is_not_saved(storage: FaultyStorage) -> None:
    """What is committed can be thawed: anything else is rolled back at once (PE-27, PE-31)."""
    circular: list[Any] = []
    circular.append(circular)
    with Runtime(storage) as runtime:
        ref = runtime.get(Loose, "a")
        ref.ask(Loose.append, 1)

        with pytest.raises(InvalidStateError, match="thawed"):
            ref.ask(Loose.append, "two")
        for value in (object(), lambda: None, circular, "\ud800"):
            with pytest.raises(InvalidStateError, match="saved"):
                ref.ask(Loose.hold, value)

        assert ref.ask(Loose.append, 2) == 2
    assert saved(storage, "loose/a").value == {"numbers": [1, 2], "anything": None}


# -- threads that are replaced ------------------------------------------------------------------


def test_a_deleted_agent_gets_another_thread(storage: FaultyStorage) -> None:
    """After a deletion nothing is left of the old thread; a new one begins (PE-28)."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Counter, "a")
        ref.ask(Counter.note, "old")
        old = saved(storage, ref.address).thread
        assert old is not None

        ref.delete()
        ref.ask(Counter.note, "new")

        new = saved(storage, ref.address).thread
        assert new is not None
        assert new.id != old.id
        assert ref.ask(Counter.notes) == ["new"]
        assert storage.load_thread(old.id) is None
