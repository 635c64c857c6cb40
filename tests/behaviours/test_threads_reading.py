"""An agent reads its own thread: by place, by kind, from the end; and what was trimmed is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.behaviours.kit import Journal, payloads, saved
from torpor import BlockingCallError, Runtime
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage


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
