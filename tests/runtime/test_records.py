"""What a checkpoint holds and when one is written."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.runtime.kit import Scripted
from torpor import Runtime, Thawed, ThawError
from torpor.storage import Entry

if TYPE_CHECKING:
    from tests.runtime.kit import Watch
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage


def test_a_checkpoint_holds_a_pointer_and_no_entries(runtime: Runtime) -> None:
    """A checkpoint has the thread's id and rev, and never its entries (DESIGN 5, Records 1)."""

    class Greedy(Scripted):
        def checkpoint(self) -> dict[str, Any]:
            return super().checkpoint() | {"rev": -1, "thread": {"id": "mine", "rev": 99}}

    agent = runtime.get(Greedy, "a")
    agent.ask(Greedy.note, "secret")

    stored = runtime.storage.get_checkpoint(agent.address)

    assert stored is not None
    assert "secret" not in stored.data
    assert stored.thread is not None
    assert (stored.thread.id.startswith(f"{agent.address}#"), stored.thread.rev) == (True, 1)


def test_entries_and_checkpoint_are_one_change(runtime: Runtime, storage: FaultyStorage) -> None:
    """Thread entries and the checkpoint that points at them are one ``Change`` (Records 2)."""

    def both(agent: Scripted) -> None:
        agent.count = 1
        agent.note("one")
        agent.note("two")

    runtime.get(Scripted, "a").ask(Scripted.do, both)

    [[change]] = storage.batches
    assert change.put is not None
    assert change.thread is not None
    assert [entry.payload["text"] for entry in change.thread.entries] == ["one", "two"]


def test_a_thaw_verifies_the_pointer_and_loads_no_entries(
    runtime: Runtime, storage: FaultyStorage
) -> None:
    """Thawing makes one point read of the newest entry (DESIGN 5, Records 3)."""
    agent = runtime.get(Scripted, "a")
    for text in ("one", "two", "three"):
        agent.ask(Scripted.note, text)
    agent.hibernate()
    storage.calls.clear()

    agent.ask(Scripted.read)

    assert storage.calls == {"read": 1, "read_entry_ids": 1}


@pytest.mark.parametrize("damage", ["MissingThreadError", "ThreadMismatchError"])
def test_a_damaged_thread_is_found_at_thaw(
    runtime: Runtime, memory: MemoryStorage, damage: str
) -> None:
    """A thread that is gone, or that disagrees with its checkpoint, fails the thaw (Records 3)."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.note, "one")
    agent.hibernate()
    [thread_id] = memory._journals
    journal = memory._journals.pop(thread_id)
    if damage == "ThreadMismatchError":
        memory._journals[thread_id] = type(journal)()
        fake = Entry(kind="note", at=0.0, id="other", seq=0)
        memory._journals[thread_id].write(0, [_encoded(fake)])

    with pytest.raises(ThawError) as raised:
        agent.ask(Scripted.read)

    assert type(raised.value.__cause__).__name__ == damage


def _encoded(entry: Entry) -> str:
    from torpor.storage import codec  # noqa: PLC0415 - for this alone

    return codec.encode_entry(entry)


def test_only_a_missing_checkpoint_makes_a_fresh_agent(runtime: Runtime, watch: Watch) -> None:
    """A fresh agent is made where nothing is stored, and nowhere else (DESIGN 5, Records 4)."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add)
    agent.hibernate()
    agent.ask(Scripted.read)

    assert [(event.fresh, event.rev) for event in watch.of(Thawed)] == [(True, 0), (False, 1)]


def test_an_unchanged_agent_is_not_rewritten(runtime: Runtime, storage: FaultyStorage) -> None:
    """Reading, thawing and hibernating write nothing (DESIGN 5, Records 5; W-33)."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.note, "one")
    for _ in range(3):
        agent.hibernate()
        agent.ask(Scripted.read)

    assert storage.calls["commit"] == 1


def test_a_turn_that_changes_nothing_in_the_end_writes_nothing(
    runtime: Runtime, storage: FaultyStorage
) -> None:
    """What counts is the state after the turn, not that fields were assigned."""

    def there_and_back(agent: Scripted) -> None:
        agent.count += 1
        agent.count -= 1

    runtime.get(Scripted, "a").ask(Scripted.do, there_and_back)

    assert storage.calls["commit"] == 0


def test_a_record_of_another_kind_is_not_thawed(runtime: Runtime) -> None:
    """The stored kind is checked (DESIGN 5, Records 6; W-14)."""
    agent = runtime.get(Scripted, "a")
    runtime.storage.put_checkpoint(agent.address, {"count": 1}, kind="something_else")

    with pytest.raises(ThawError, match="something_else"):
        agent.ask(Scripted.read)


def test_a_newer_version_is_not_thawed(runtime: Runtime) -> None:
    """A stored version newer than the class fails closed (DESIGN 5, Records 4 and 6, HC-20)."""
    agent = runtime.get(Scripted, "a")
    runtime.storage.put_checkpoint(agent.address, {"count": 1}, kind="scripted", version=2)

    with pytest.raises(ThawError, match="version 2"):
        agent.ask(Scripted.read)


def test_an_older_version_passes_through_migrate(runtime: Runtime) -> None:
    """Older data is migrated, and stored in today's form with the next save (Records 6, HC-20)."""

    class Renamed(Scripted, kind="renamed", version=3):
        total: int = 0

        @classmethod
        def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
            return data | {"total": data["sum"] * from_version}

        def change(self) -> int:
            self.total += 1
            return self.total

    agent = runtime.get(Renamed, "a")
    runtime.storage.put_checkpoint(agent.address, {"sum": 20}, kind="renamed", version=2)

    assert agent.ask(Renamed.change) == 41

    stored = runtime.storage.get_checkpoint(agent.address)
    assert stored is not None
    assert (stored.version, stored.value["total"]) == (3, 41)
