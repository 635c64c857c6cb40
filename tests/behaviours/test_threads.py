"""An agent's own thread, as the agent sees it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.behaviours.kit import Counter, saved
from torpor import (
    Agent,
    BlockingCallError,
    ConflictError,
    OwnedThreadError,
    Runtime,
    UnserializableError,
)
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Collection

    from torpor.storage import Entry
    from torpor.storage.faulty import FaultyStorage
    from torpor.testing import ManualClock


class Journal(Agent, track_commands=False):
    """Hands out what it does with its thread."""

    def append(self, /, *payloads: Any, kind: str = "note", **more: Any) -> list[Entry]:
        """Append an entry for each payload."""
        return [self.thread.append(kind, payload, **more) for payload in payloads]

    def tail(self, n: int, kinds: Collection[str] | None = None) -> list[Entry]:
        """Return the last entries."""
        return self.thread.tail(n, kinds=kinds)

    def entries(self, /, **options: Any) -> list[Entry]:
        """Return entries."""
        return self.thread.entries(**options)

    def get(self, seq: int) -> Entry | None:
        """Return one entry."""
        return self.thread.get(seq)

    def last(self) -> Entry | None:
        """Return the newest entry."""
        return self.thread.last

    def trim(self, before: int) -> None:
        """Forget old entries."""
        self.thread.trim(before)

    def measures(self) -> tuple[str | None, int, int, int]:
        """Return id, revision, start and length."""
        return self.thread.id, self.thread.rev, self.thread.start, len(self.thread)

    def append_then_fail(self, payload: Any) -> None:
        """Append, trim and fail."""
        self.thread.append("note", payload)
        self.thread.trim(self.thread.rev)
        raise LookupError(payload)

    async def tail_later(self, n: int) -> list[Entry]:
        """Return the last entries, asynchronously."""
        return [*await self.thread.atail(n), *await self.thread.aentries(after=10**6)]

    async def tail_at_once(self, n: int) -> list[Entry]:
        """Return the last entries on the event loop's thread."""
        return self.thread.tail(n)


def payloads(entries: list[Entry]) -> list[Any]:
    """Return what entries say."""
    return [entry.payload for entry in entries]


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


@pytest.fixture(params=["in memory", "asleep"])
def ten(request: pytest.FixtureRequest, runtime: Runtime) -> Any:
    """Return an agent with ten entries, of which every third is a fact."""
    ref = runtime.get(Journal, "ten")
    for number in range(10):
        ref.ask(Journal.append, number, kind="note" if number % 3 else "fact")
    if request.param == "asleep":
        ref.hibernate()
    return ref


def test_single_entries_are_found(ten: Any) -> None:
    """The newest and any by its ``seq`` can be had; what isn't there is None (TH-6)."""
    assert ten.ask(Journal.last).payload == 9
    assert ten.ask(Journal.get, 0).payload == 0
    assert ten.ask(Journal.get, 7).payload == 7
    for absent in (10, 1000, -1):
        assert ten.ask(Journal.get, absent) is None


def test_entries_are_filtered_by_kind(ten: Any) -> None:
    """One kind or several can be asked for; an unknown one has no entries (TH-6)."""
    assert payloads(ten.ask(Journal.entries, kinds=["fact"])) == [0, 3, 6, 9]
    assert payloads(ten.ask(Journal.entries, kinds="fact")) == [0, 3, 6, 9]
    assert len(ten.ask(Journal.entries, kinds={"fact", "note"})) == 10
    for nobody in (["other"], [], "fac", "facts"):
        assert ten.ask(Journal.entries, kinds=nobody) == []
    assert payloads(ten.ask(Journal.entries, kinds=["fact"], limit=2)) == [0, 3]
    assert payloads(ten.ask(Journal.tail, 2, kinds="fact")) == [6, 9]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"after": 3, "before": 7}, [4, 5, 6]),
        ({"after": -5, "before": 2}, [0, 1]),
        ({"after": 7, "before": 1000}, [8, 9]),
        ({"after": 7, "before": 3}, []),
        ({"after": 1000}, []),
        ({"limit": 0}, []),
        ({"after": 1, "limit": 2}, [2, 3]),
        ({"limit": 1000}, list(range(10))),
    ],
    ids=str,
)
def test_entries_are_sliced(ten: Any, options: dict[str, int], found: list[int]) -> None:
    """Any part of a thread can be read; what lies outside of it is no error (TH-6)."""
    assert payloads(ten.ask(Journal.entries, **options)) == found


@pytest.mark.parametrize("n", [0, 1, 3, 10, 11, 1000])
def test_the_tail_is_the_newest(ten: Any, n: int) -> None:
    """The last n entries come oldest first, all of them if there are fewer (TH-34)."""
    assert payloads(ten.ask(Journal.tail, n)) == list(range(10))[max(0, 10 - n) :]


def test_a_negative_number_of_entries_is_refused(ten: Any) -> None:
    """Less than no entries is a mistake (TH-6, TH-34)."""
    with pytest.raises(ValueError, match="at least 0"):
        ten.ask(Journal.tail, -1)
    with pytest.raises(ValueError, match="at least 0"):
        ten.ask(Journal.entries, limit=-1)


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


def test_trimmed_entries_are_gone(ten: Any, storage: FaultyStorage) -> None:
    """Compaction removes the oldest entries for good; ``rev`` and ``seq`` stay (TH-34)."""
    ten.ask(Journal.trim, 7)
    ten.ask(Journal.trim, 3)

    head = saved(storage, ten.address).thread
    assert head is not None
    assert (head.start, head.rev) == (7, 10)
    assert ten.ask(Journal.measures)[1:] == (10, 7, 3)
    assert payloads(ten.ask(Journal.entries)) == [7, 8, 9]
    assert ten.ask(Journal.get, 6) is None
    ten.hibernate()
    assert payloads(ten.ask(Journal.tail, 100)) == [7, 8, 9]
    assert ten.ask(Journal.append, "next")[0].seq == 10


def test_a_thaw_reads_no_entries(runtime: Runtime, storage: FaultyStorage) -> None:
    """Nothing is loaded before it is asked for, and then no more than that (TH-34, W-31)."""
    ref = runtime.get(Journal, "a")
    ref.ask(Journal.append, *range(1000))
    ref.hibernate()
    storage.calls.clear()

    ref.ask(Journal.append, "new")
    assert ref.ask(Journal.measures)[1:] == (1001, 0, 1001)
    assert storage.calls["read_entries"] == 0

    assert len(ref.ask(Journal.tail, 3)) == 3
    assert storage.calls["read_entries"] == 1
    ref.ask(Journal.tail, 3)
    assert storage.calls["read_entries"] == 1


def test_async_handlers_read_without_blocking(runtime: Runtime) -> None:
    """On an event loop's thread reading the storage is awaited, or refused (TH-34)."""
    ref = runtime.get(Journal, "a")
    ref.ask(Journal.append, *range(5))
    ref.hibernate()

    with pytest.raises(BlockingCallError, match="atail"):
        ref.ask(Journal.tail_at_once, 3)
    assert payloads(ref.ask(Journal.tail_later, 3)) == [2, 3, 4]
    assert payloads(ref.ask(Journal.tail_at_once, 3)) == [2, 3, 4]


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


class ThreadMachine(RuleBasedStateMachine):
    """An agent's thread behaves like a list, whatever is asked and however often it sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStorage()
        self.runtime = Runtime(self.storage)
        self.ref = self.runtime.get(Journal, "a")
        self.model: list[tuple[str, int]] = []
        self.start = 0

    @rule(kind=st.sampled_from("xy"), count=st.integers(0, 4))
    def append(self, kind: str, count: int) -> None:
        """Append a few."""
        new = range(len(self.model), len(self.model) + count)
        assert [e.seq for e in self.ref.ask(Journal.append, *new, kind=kind)] == list(new)
        self.model += [(kind, number) for number in new]

    @rule()
    def fail(self) -> None:
        """Append in a turn that fails."""
        with pytest.raises(LookupError):
            self.ref.ask(Journal.append_then_fail, "lost")

    @rule()
    def sleep(self) -> None:
        """Hibernate."""
        self.ref.hibernate()

    @rule(before=st.integers(0, 12))
    def trim(self, before: int) -> None:
        """Forget the oldest."""
        self.ref.ask(Journal.trim, before)
        self.start = max(self.start, min(before, len(self.model)))

    @rule(n=st.integers(0, 6), kinds=st.none() | st.sampled_from(["x", ["y"], ["x", "y"], []]))
    def tail(self, n: int, kinds: Any) -> None:
        """Read the newest."""
        expected = self._of(kinds)
        assert (
            payloads(self.ref.ask(Journal.tail, n, kinds)) == expected[max(0, len(expected) - n) :]
        )

    @rule(
        after=st.none() | st.integers(-1, 12),
        before=st.none() | st.integers(-1, 12),
        limit=st.none() | st.integers(0, 4),
        kinds=st.none() | st.sampled_from(["x", ["y"], ["x", "y"], []]),
    )
    def entries(self, after: int | None, before: int | None, limit: int | None, kinds: Any) -> None:
        """Read a part."""
        expected = [
            number
            for number in self._of(kinds)
            if (after is None or number > after) and (before is None or number < before)
        ]
        found = self.ref.ask(Journal.entries, after=after, before=before, limit=limit, kinds=kinds)
        assert payloads(found) == expected[:limit]

    @invariant()
    def measures_agree(self) -> None:
        """Revision, start and length are the model's."""
        rev = len(self.model)
        assert self.ref.ask(Journal.measures)[1:] == (rev, self.start, rev - self.start)

    def _of(self, kinds: Any) -> list[int]:
        return [n for k, n in self.model[self.start :] if kinds is None or k in kinds]

    def teardown(self) -> None:
        """Stop."""
        self.runtime.stop()


TestThreadMachine = ThreadMachine.TestCase
TestThreadMachine.settings = settings(stateful_step_count=30)
