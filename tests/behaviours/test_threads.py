"""An agent's own thread, as the agent sees it: what is appended, when, and by whom."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from tests.behaviours.kit import Counter, Journal, payloads, saved
from torpor import ConflictError, OwnedThreadError, Runtime, UnserializableError

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage
    from torpor.testing import ManualClock


def test_a_thread_begins_empty(runtime: Runtime) -> None:
    """An agent that appended nothing has a thread of no entries and no id (TH-1)."""
    ref = runtime.get(Journal, "a")

    assert ref.ask(Journal.measures) == (None, 0, 0, 0)
    assert ref.ask(Journal.entries) == []
    assert ref.ask(Journal.last) is None


def test_the_first_append_makes_the_thread(
    runtime: Runtime, storage: FaultyStorage, clock: ManualClock
) -> None:
    """Its id belongs to the agent; creation and update are times of the wall clock (TH-1)."""
    ref = runtime.get(Journal, "a/b")
    begun = clock.time()
    ref.ask(Journal.append, 1)
    clock.advance(5)
    ref.ask(Journal.append, 2)

    head = saved(storage, ref.address).thread
    assert head is not None
    assert head.id.startswith("journal/a/b#")
    assert ref.ask(Journal.measures) == (head.id, 2, 0, 2)
    assert (head.created_at, head.updated_at) == (begun, begun + 5)


def test_an_entry_has_defaults(runtime: Runtime, clock: ManualClock) -> None:
    """An entry of a kind alone has an empty payload, no refs, now and an id of its own (TH-2)."""
    ref = runtime.get(Journal, "a")
    first, second = ref.ask(Journal.append, None, None)

    assert (first.kind, first.payload, first.refs, first.at) == ("note", {}, {}, clock.time())
    assert first.id.startswith("entry_")
    assert first.id != second.id
    assert (first.seq, second.seq) == (0, 1)


def test_an_entry_keeps_what_it_was_given(runtime: Runtime) -> None:
    """A caller's kind, payload, refs, id and time are kept; ``seq`` is the thread's (TH-3)."""
    ref = runtime.get(Journal, "a")
    ref.ask(Journal.append, 0)

    [given] = ref.ask(Journal.append, {"x": (1, 2)}, kind="k", refs={"by": "me"}, id="mine", at=1.5)
    ref.hibernate()

    [_, found] = ref.ask(Journal.entries)
    assert found == given
    assert (found.kind, found.payload, found.refs) == ("k", {"x": [1, 2]}, {"by": "me"})
    assert (found.id, found.at, found.seq) == ("mine", 1.5, 1)


NOT_JSON = [pytest.param(object(), id="object"), {1: "x"}, b"raw", float("nan"), {3}]


@pytest.mark.parametrize("payload", NOT_JSON)
def test_entries_are_json(runtime: Runtime, payload: Any) -> None:
    """What has no JSON form is refused where it is appended; the turn fails (TH-3, CP-6)."""
    ref = runtime.get(Journal, "a")

    with pytest.raises(UnserializableError):
        ref.ask(Journal.append, payload)
    with pytest.raises(UnserializableError):
        ref.ask(Journal.append, 1, refs={"what": payload})

    assert ref.ask(Journal.measures) == (None, 0, 0, 0)


def test_entries_are_copies_of_what_was_passed(runtime: Runtime) -> None:
    """What the caller does to its own objects later is not in the thread (TH-3)."""
    ref = runtime.get(Journal, "a")
    payload = {"list": [1]}
    ref.ask(Journal.append, payload)

    payload["list"].append(2)

    assert payloads(ref.ask(Journal.entries)) == [{"list": [1]}]


def test_seq_counts_from_zero_without_gaps(runtime: Runtime) -> None:
    """``rev`` grows by what was appended, over turns, failures and lives (TH-4)."""
    ref = runtime.get(Journal, "a")
    ref.ask(Journal.append, *"ab")
    with pytest.raises(LookupError):
        ref.ask(Journal.append_then_fail, "lost")
    ref.hibernate()
    [entry] = ref.ask(Journal.append, "c")

    assert entry.seq == 2
    assert [entry.seq for entry in ref.ask(Journal.entries)] == [0, 1, 2]
    assert ref.ask(Journal.measures)[1:] == (3, 0, 3)


def test_what_was_read_does_not_change(runtime: Runtime, storage: FaultyStorage) -> None:
    """A list that was read stays as it was when more is appended; the head moves on (TH-5)."""
    ref = runtime.get(Journal, "a")
    ref.ask(Journal.append, 1)
    before = ref.ask(Journal.entries)
    head = saved(storage, ref.address).thread

    ref.ask(Journal.append, 2)

    assert payloads(before) == [1]
    after = saved(storage, ref.address).thread
    assert head is not None
    assert after is not None
    assert (head.rev, after.rev) == (1, 2)
    assert after.updated_at >= head.updated_at


@pytest.mark.parametrize("kind", ["message", "tool_call", "anything at all", "ü", ""])
def test_kinds_and_refs_are_open(runtime: Runtime, kind: str) -> None:
    """Any text is a kind, and anything that is JSON is a reference (TH-7)."""
    ref = runtime.get(Journal, "a")
    ref.ask(Journal.append, 1, kind=kind, refs={"parent_thread_id": "x", "any": [1, None]})
    ref.hibernate()

    [entry] = ref.ask(Journal.entries, kinds=[kind])
    assert (entry.kind, entry.refs) == (kind, {"parent_thread_id": "x", "any": [1, None]})


def test_entries_are_not_edited(runtime: Runtime) -> None:
    """An entry is immutable; a late fact is an entry that refers to it (TH-8)."""
    ref = runtime.get(Journal, "a")
    [entry] = ref.ask(Journal.append, "draft", kind="message")

    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.payload = "final"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    ref.ask(Journal.append, None, kind="message_committed", refs={"entry_id": entry.id})

    assert [e.refs.get("entry_id") for e in ref.ask(Journal.entries)] == [None, entry.id]


def test_pending_entries_are_seen_by_the_agent_alone(
    runtime: Runtime, storage: FaultyStorage
) -> None:
    """What the running turn appends it reads at once; others see it once it is saved (TH-34)."""

    class Reader(Journal):
        """Reads what it has just written."""

        def write(self) -> tuple[list[Any], int, int]:
            """Append and read; return what is seen and what is stored."""
            self.append("new")
            record = self.runtime.storage.get_checkpoint(self.ref.address)
            stored = record.thread.rev if record and record.thread else 0
            return payloads(self.tail(2)), self.thread.rev, stored

    ref = runtime.get(Reader, "a")
    ref.ask(Journal.append, "old")

    assert ref.ask(Reader.write) == (["old", "new"], 2, 1)
    head = saved(storage, ref.address).thread
    assert head is not None
    assert head.rev == 2


def test_a_failing_turn_appends_and_trims_nothing(runtime: Runtime) -> None:
    """What a failed turn did to the thread is undone (TH-34)."""
    ref = runtime.get(Journal, "a")
    ref.ask(Journal.append, *range(5))

    with pytest.raises(LookupError):
        ref.ask(Journal.append_then_fail, "lost")

    assert payloads(ref.ask(Journal.entries)) == [0, 1, 2, 3, 4]
    assert ref.ask(Journal.measures)[1:] == (5, 0, 5)


def test_an_agents_thread_is_its_own(runtime: Runtime, storage: FaultyStorage) -> None:
    """Nobody else appends to it, trims or deletes it; anybody may read it (TH-21, TH-24)."""
    ref = runtime.get(Journal, "a")
    ref.ask(Journal.append, 1)
    head = saved(storage, ref.address).thread
    assert head is not None

    with pytest.raises(OwnedThreadError):
        storage.append_thread(head.id, {"payload": 2})
    with pytest.raises(OwnedThreadError):
        storage.trim_thread(head.id, 1)
    with pytest.raises(OwnedThreadError):
        storage.delete_thread(head.id)

    thread = storage.load_thread(head.id)
    assert thread is not None
    assert payloads(list(thread)) == [1]


def test_of_two_appends_on_one_revision_one_is_run_again(storage: FaultyStorage) -> None:
    """Two processes that append at once both succeed, one behind the other (TH-26)."""
    with Runtime(storage) as one, Runtime(storage) as two:
        for runtime in (one, two):
            runtime.get(Journal, "a").ask(Journal.measures)
        for runtime in (one, two, one, two):
            runtime.get(Journal, "a").ask(Journal.append, id(runtime))

        found = two.get(Journal, "a").ask(Journal.entries)
    assert payloads(found) == [id(one), id(two)] * 2
    assert [entry.seq for entry in found] == [0, 1, 2, 3]


def test_a_copy_appends_on_its_revision(storage: FaultyStorage) -> None:
    """Of two copies that append to one thread the second is refused whole (TH-26, W-20)."""
    with Runtime(storage) as runtime:
        runtime.get(Counter, "a").ask(Counter.note, "begin")
        first, second = (runtime.thaw(Counter, "a") for _ in range(2))
        assert first is not None
        assert second is not None
        first.note("first")
        second.note("second")
        runtime.hibernate(first)

        with pytest.raises(ConflictError):
            runtime.hibernate(second)

        fresh = runtime.get(Counter, "a").options(fresh=True)
        assert fresh.ask(Counter.notes) == ["begin", "first"]
