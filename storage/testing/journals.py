"""The part of ``StorageContract`` about reading, trimming and outgrowing a long thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from torpor.storage.records import Change, Space, ThreadWrite
from torpor.storage.testing.kit import (
    ContractKit,
    append,
    checkpoint,
    head_of,
    owned,
    payloads,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage.base import Storage

KINDS = ["a", "b", "a", "c", "b", "a"]

# arguments of load_thread -> which seqs of six entries of the kinds above
QUERIES: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [0, 1, 2, 3, 4, 5]),
    ({"after": 2}, [3, 4, 5]),
    ({"after": -1}, [0, 1, 2, 3, 4, 5]),
    ({"after": 5}, []),
    ({"after": 99}, []),
    ({"tail": 2}, [4, 5]),
    ({"tail": 99}, [0, 1, 2, 3, 4, 5]),
    ({"tail": 0}, []),
    ({"tail": 4, "after": 3}, [4, 5]),
    ({"limit": 2}, [0, 1]),
    ({"limit": 99}, [0, 1, 2, 3, 4, 5]),
    ({"limit": 0}, []),
    ({"limit": 2, "after": 1}, [2, 3]),
    ({"kinds": ["a"]}, [0, 2, 5]),
    ({"kinds": ("a", "c")}, [0, 2, 3, 5]),
    ({"kinds": {"c"}}, [3]),
    ({"kinds": ["unknown", "c"]}, [3]),
    ({"kinds": []}, []),
    ({"kinds": ["a"], "tail": 2}, [2, 5]),
    ({"kinds": ["a", "b"], "limit": 3}, [0, 1, 2]),
    ({"kinds": ["b"], "after": 1}, [4]),
    ({"kinds": ["a"], "after": 0, "limit": 1}, [2]),
    ({"kinds": ["b"], "after": 1, "tail": 5}, [4]),
]


class JournalContract(ContractKit):
    """Long threads: parts of them, their trimming, and what they cost."""

    @pytest.mark.parametrize(("query", "seqs"), QUERIES, ids=str)
    def test_parts_of_a_thread(
        self, storage: Storage, query: dict[str, Any], seqs: list[int]
    ) -> None:
        """``after``, ``tail``, ``limit`` and ``kinds`` choose entries (TH-6, TH-7, TH-34)."""
        storage.append_thread("log", [{"kind": kind} for kind in KINDS])

        thread = storage.load_thread("log", **query)

        assert thread is not None
        assert [entry.seq for entry in thread] == seqs
        assert [entry.kind for entry in thread] == [KINDS[seq] for seq in seqs]
        assert thread.head == storage.thread_head("log")

    @pytest.mark.parametrize("query", [{"limit": -1}, {"tail": -1}, {"tail": -2, "after": 1}])
    def test_negative_sizes_are_refused(self, storage: Storage, query: dict[str, Any]) -> None:
        """A negative number of entries is the caller's error, not damage."""
        storage.append_thread("log", [{}, {}, {}])

        with pytest.raises(ValueError, match="at least 0"):
            storage.load_thread("log", **query)

    def test_trim_removes_the_oldest(self, storage: Storage) -> None:
        """Entries below the mark are gone; ``rev`` and the other entries stay (rule 5)."""
        written = storage.append_thread("log", [{"payload": n} for n in range(6)])

        head = storage.trim_thread("log", 4)

        assert head is not None
        assert (head.rev, head.start, head.last) == (6, 4, written.last)
        assert storage.thread_head("log") == head
        assert payloads(storage.load_thread("log")) == [4, 5]
        assert payloads(storage.load_thread("log", after=0)) == [4, 5]
        assert payloads(storage.load_thread("log", tail=5)) == [4, 5]

    def test_trimmed_thread_goes_on(self, storage: Storage) -> None:
        """A trim changes no revision, and the next append comes after the last (rule 5)."""
        storage.append_thread("log", [{"payload": n} for n in range(3)])
        storage.trim_thread("log", 2)

        head = storage.append_thread("log", {"payload": 3}, expected_rev=3)

        assert (head.rev, head.start) == (4, 2)
        assert payloads(storage.load_thread("log")) == [2, 3]

    @pytest.mark.parametrize("mark", [-5, 0, 1])
    def test_trim_never_goes_back(self, storage: Storage, mark: int) -> None:
        """A mark at or below what is gone already changes nothing (rule 5)."""
        storage.append_thread("log", [{"payload": n} for n in range(3)])
        storage.trim_thread("log", 1)

        head = storage.trim_thread("log", mark)

        assert head is not None
        assert (head.rev, head.start) == (3, 1)
        assert payloads(storage.load_thread("log")) == [1, 2]

    def test_trim_of_everything(self, storage: Storage) -> None:
        """A mark beyond the end leaves a thread that goes on from its ``rev`` (rule 5)."""
        storage.append_thread("log", [{"payload": n} for n in range(3)])

        head = storage.trim_thread("log", 99)

        assert head is not None
        assert (head.rev, head.start) == (3, 3)
        thread = storage.load_thread("log")
        assert thread is not None
        assert len(thread) == 0
        assert storage.append_thread("log", {"payload": 3}).rev == 4
        assert payloads(storage.load_thread("log")) == [3]

    def test_trim_and_append_in_one_change(self, storage: Storage) -> None:
        """A sliding window is one change: new entries in, old ones out (rule 1, rule 5)."""
        storage.append_thread("log", [{"payload": n} for n in range(3)])
        window = append("log", 3, 4)
        assert window.thread is not None

        storage.commit(
            [
                Change(
                    key="log",
                    space=Space.THREADS,
                    thread=ThreadWrite(id="log", entries=window.thread.entries, trim_before=3),
                )
            ]
        )

        assert head_of(storage, "log").rev == 5
        assert payloads(storage.load_thread("log")) == [3, 4]

    def test_trim_keeps_the_wake_up_time(self, storage: Storage) -> None:
        """Trimming a thread loses nothing but entries (rule 12)."""
        storage.append_thread("log", [{}, {}], wake_at=50.0)

        storage.trim_thread("log", 1)

        assert [due.key for due in storage.list_due(50.0)] == ["log"]

    def test_whether_there_are_entries(self, storage: Storage) -> None:
        """That is told of any thread, however long it may be."""
        storage.append_thread("log", [{}, {}])
        storage.append_thread("empty", [])
        storage.commit([owned("agent", "agent#1", 1, 2, 3)])

        found = {
            thread_id: storage.has_entries(thread_id)
            for thread_id in ("log", "agent#1", "empty", "agent#2", "unknown")
        }

        assert [thread_id for thread_id, there in found.items() if there] == ["log", "agent#1"]

    def test_learning_a_revision_reads_no_entry(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Head, append, trim and the reading of an owner load no entries (rule 7, W-31)."""
        storage.append_thread("log", [{}, {}])
        storage.commit([owned("agent", "agent#1", 1, 2)])
        loaded: list[str] = []

        def load(thread_id: str, *_: int, **options: object) -> None:
            loaded.append(f"{thread_id} {options}")

        monkeypatch.setattr(storage, "_read_entries", load)

        assert head_of(storage, "log").rev == 2
        assert head_of(storage, "agent#1").rev == 2
        assert storage.append_thread("log", {}, expected_rev=2).rev == 3
        storage.trim_thread("log", 1)
        storage.commit([owned("agent", "agent#1", 3)])
        assert checkpoint(storage, "agent").thread == storage.thread_head("agent#1")
        [record] = storage.read(["agent"])
        assert getattr(record, "rev", None) == 2
        assert loaded == []

    def test_cost_does_not_grow_with_history(self, storage: Storage) -> None:
        """With 10,000 entries, reads and appends cost about as with 10 (rule 7, W-31, W-32)."""
        few, many = 10, 10_000
        for thread_id, key, count in (("few", "short", few), ("many", "long", many)):
            for begin in range(0, count, 1000):
                batch = range(begin, min(begin + 1000, count))
                storage.append_thread(thread_id, ({"payload": n} for n in batch))
                storage.commit([owned(key, f"{key}#1", *batch)])
        calls: list[Callable[[str, str], object]] = [
            lambda thread_id, _: storage.append_thread(thread_id, {"payload": 1}),
            lambda thread_id, _: storage.thread_head(thread_id),
            lambda thread_id, _: storage.load_thread(thread_id, tail=5),
            lambda _, key: storage.commit([owned(key, f"{key}#1", 1)]),
            lambda _, key: storage.read([key]),
        ]

        for call in calls:
            short = self._least_effort(storage, lambda: call("few", "short"))  # noqa: B023
            long = self._least_effort(storage, lambda: call("many", "long"))  # noqa: B023
            assert long <= 2 * short + many // 2

    def _least_effort(self, storage: Storage, call: Callable[[], object]) -> int:
        """Return what it takes when nothing is made room for or loaded for the first time."""
        return min(self.count_effort(storage, call) for _ in range(3))
