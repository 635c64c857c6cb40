"""The part of ``StorageContract`` about standalone threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from torpor.storage.errors import ConflictError, UnserializableError
from torpor.storage.records import Entry, ThreadHead
from torpor.storage.testing.checkpoints import JSON_VALUES, NOT_JSON
from torpor.storage.testing.kit import ContractKit, head_of, payloads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.storage.base import Storage

THREE = [{"payload": number} for number in range(3)]


class ThreadContract(ContractKit):
    """Appending to a thread, its metadata and its end."""

    def test_missing_thread_is_none(self, storage: Storage) -> None:
        """A thread that is not there is None, not an error (rule 8, TH-24)."""
        assert storage.thread_head("missing") is None
        assert storage.load_thread("missing") is None
        assert storage.load_thread("missing", tail=3) is None
        assert storage.trim_thread("missing", 5) is None
        assert storage.thread_head("missing") is None

    def test_append_creates_and_returns_the_head(self, storage: Storage) -> None:
        """The first append makes the thread and answers its head, no entries (TH-1, TH-20)."""
        before = time.time()

        head = storage.append_thread("log", [{"id": "a"}, {"id": "b"}], metadata={"by": "me"})

        assert isinstance(head, ThreadHead)
        assert (head.id, head.rev, head.start, head.last) == ("log", 2, 0, "b")
        assert head.metadata == {"by": "me"}
        assert before <= head.created_at == head.updated_at <= time.time()
        assert storage.thread_head("log") == head
        thread = storage.load_thread("log")
        assert thread is not None
        assert thread.head == head
        assert len(thread) == 2

    def test_entry_has_defaults(self, storage: Storage) -> None:
        """An empty mapping is a note of now with an id of its own (TH-2)."""
        before = time.time()

        storage.append_thread("log", [{}, {}])

        thread = storage.load_thread("log")
        assert thread is not None
        first, second = thread
        assert (first.kind, first.payload, first.refs, first.seq) == ("note", {}, {}, 0)
        assert before <= first.at <= time.time()
        assert first.id.startswith("entry_")
        assert first.id != second.id

    def test_entry_keeps_what_it_was_given(self, storage: Storage) -> None:
        """All of an entry but its ``seq`` is the caller's (rule 5, TH-3, TH-8)."""
        given = Entry(
            kind="message",
            payload={"text": "hi"},
            refs={"entry_id": "x"},
            at=12.5,
            id="mine",
            seq=99,
        )

        storage.append_thread("log", given)
        storage.append_thread("log", {"kind": "message", "at": 3, "id": "other", "seq": 0})

        thread = storage.load_thread("log")
        assert thread is not None
        first, second = thread
        assert first == Entry(
            kind="message",
            payload={"text": "hi"},
            refs={"entry_id": "x"},
            at=12.5,
            id="mine",
            seq=0,
        )
        assert (second.kind, second.at, second.id, second.seq) == ("message", 3, "other", 1)

    def test_entries_come_in_any_shape(self, storage: Storage) -> None:
        """One entry or any iterable of them, as entries or mappings (TH-3)."""
        entry = Entry(kind="note", payload=1, at=0.0, id="one")

        storage.append_thread("log", {"payload": 0})
        storage.append_thread("log", entry)
        storage.append_thread("log", ({"payload": number} for number in (2, 3)))
        storage.append_thread("log", (Entry(kind="note", payload=4, at=0.0, id="four"),))

        assert payloads(storage.load_thread("log")) == [0, 1, 2, 3, 4]

    def test_seq_is_contiguous(self, storage: Storage) -> None:
        """Entries count from 0 without gaps; ``rev`` is how many there were (rule 5, TH-4)."""
        revs = [storage.append_thread("log", [{"seq": 7}] * count).rev for count in (1, 3, 2)]

        assert revs == [1, 4, 6]
        thread = storage.load_thread("log")
        assert thread is not None
        assert [entry.seq for entry in thread] == [0, 1, 2, 3, 4, 5]

    def test_metadata_is_the_creators(self, storage: Storage) -> None:
        """Metadata of later appends is ignored (rule 5, TH-22, W-8)."""
        storage.append_thread("with", {}, metadata={"first": [1]})
        storage.append_thread("without", {})

        for thread_id in ("with", "without"):
            storage.append_thread(thread_id, {}, metadata={"second": 2})

        assert head_of(storage, "with").metadata == {"first": [1]}
        assert head_of(storage, "without").metadata == {}

    def test_created_at_is_kept(self, storage: Storage) -> None:
        """A thread is created once and updated by each append (TH-5, TH-23, W-8)."""
        first = storage.append_thread("log", {})
        second = storage.append_thread("log", {})

        assert second.created_at == first.created_at
        assert second.updated_at >= first.updated_at

    def test_expected_rev_is_compared(self, storage: Storage) -> None:
        """0 creates, the present ``rev`` appends, any other conflicts (rule 2, TH-21)."""
        storage.append_thread("log", THREE, expected_rev=0)
        storage.append_thread("log", {"payload": 3}, expected_rev=3)
        before = storage.load_thread("log")

        for stale in (0, 3, 5):
            with pytest.raises(ConflictError) as caught:
                storage.append_thread("log", {"payload": "late"}, expected_rev=stale)
            assert (caught.value.expected, caught.value.found) == (stale, 4)

        assert payloads(storage.load_thread("log")) == [0, 1, 2, 3]
        assert storage.load_thread("log") == before

    def test_expected_rev_of_nothing_conflicts(self, storage: Storage) -> None:
        """A thread that is not there has no revision but 0 (rule 2, TH-21)."""
        with pytest.raises(ConflictError) as caught:
            storage.append_thread("log", {}, expected_rev=1)

        assert caught.value.found == 0
        assert storage.thread_head("log") is None

    def test_empty_append_adds_nothing(self, storage: Storage) -> None:
        """Appending no entries to a thread leaves it as it is (TH-29)."""
        storage.append_thread("log", THREE, metadata={"a": 1})
        before = storage.load_thread("log")

        head = storage.append_thread("log", [], metadata={"b": 2})

        assert head.rev == 3
        assert storage.load_thread("log") == before

    def test_empty_append_creates_a_head(self, storage: Storage) -> None:
        """A thread without entries has a head with metadata, and loads as None (TH-30, W-3)."""
        head = storage.append_thread("log", [], metadata={"a": 1})

        assert (head.rev, head.last, head.metadata) == (0, None, {"a": 1})
        assert storage.thread_head("log") == head
        assert storage.load_thread("log") is None
        storage.append_thread("log", {"payload": "first"}, metadata={"b": 2}, expected_rev=0)
        assert head_of(storage, "log").metadata == {"a": 1}
        assert payloads(storage.load_thread("log")) == ["first"]

    def test_deleted_thread_is_none(self, storage: Storage) -> None:
        """Delete removes head and entries, as often as it is called (rule 8, TH-24)."""
        storage.append_thread("log", THREE)

        storage.delete_thread("log")
        storage.delete_thread("log")
        storage.delete_thread("never")

        assert storage.thread_head("log") is None
        assert storage.load_thread("log") is None

    def test_stale_delete_conflicts(self, storage: Storage) -> None:
        """A delete of another revision removes nothing (rule 2)."""
        storage.append_thread("log", THREE)

        with pytest.raises(ConflictError):
            storage.delete_thread("log", expected_rev=2)

        assert payloads(storage.load_thread("log")) == [0, 1, 2]
        storage.delete_thread("log", expected_rev=3)
        assert storage.thread_head("log") is None

    def test_recreated_thread_goes_on(self, storage: Storage) -> None:
        """Made again, a thread has no old entry and its old count (rule 4, rule 5)."""
        storage.append_thread("log", THREE, metadata={"old": 1})
        storage.delete_thread("log")

        head = storage.append_thread("log", {"payload": "new"}, metadata={"new": 1}, expected_rev=0)

        assert (head.rev, head.start, head.metadata) == (4, 3, {"new": 1})
        thread = storage.load_thread("log")
        assert [(entry.seq, entry.payload) for entry in thread or ()] == [(3, "new")]
        for stale in (1, 3):
            with pytest.raises(ConflictError):
                storage.append_thread("log", {}, expected_rev=stale)

    @pytest.mark.parametrize("value", JSON_VALUES)
    def test_json_payloads_come_back(self, storage: Storage, value: Any) -> None:
        """Payload, refs and metadata take every JSON value (rule 10, CP-6)."""
        storage.append_thread(
            "log", {"payload": value, "refs": {"r": value}}, metadata={"m": value}
        )

        thread = storage.load_thread("log")
        assert thread is not None
        [entry] = thread
        assert (entry.payload, entry.refs, thread.head.metadata) == (
            value,
            {"r": value},
            {"m": value},
        )

    @pytest.mark.parametrize("value", NOT_JSON, ids=repr)
    def test_other_payloads_are_refused(self, storage: Storage, value: Any) -> None:
        """What is not JSON is an error at the call, and nothing is stored (rule 10, CP-6)."""
        wrong: list[Mapping[str, Any]] = [
            {"payload": value},
            {"refs": {"r": value}},
            {"kind": "note", "unknown": 1},
        ]
        for entry in wrong:
            with pytest.raises(UnserializableError):
                storage.append_thread("log", [{"payload": "good"}, entry])
        with pytest.raises(UnserializableError):
            storage.append_thread("log", {}, metadata={"m": value})

        assert storage.thread_head("log") is None

    def test_stored_entries_are_copies(self, storage: Storage) -> None:
        """Neither the writer's nor a reader's objects are connected with what is stored."""
        shared = {"list": [1]}
        storage.append_thread("log", {"payload": shared, "refs": shared}, metadata=shared)
        shared["list"].append(2)
        thread = storage.load_thread("log")
        assert thread is not None
        [entry] = thread
        for reached in (entry.payload, entry.refs, thread.head.metadata):
            reached["list"].append(3)

        again = storage.load_thread("log")
        assert again is not None
        [entry] = again
        assert (entry.payload, entry.refs, again.head.metadata) == ({"list": [1]},) * 3

    def test_tuples_in_entries_become_lists(self, storage: Storage) -> None:
        """Entries and metadata are JSON, which has no tuples (CP-6)."""
        storage.append_thread("log", {"payload": (1, 2)}, metadata={"m": (1, 2)})

        assert payloads(storage.load_thread("log")) == [[1, 2]]
        assert head_of(storage, "log").metadata == {"m": [1, 2]}

    def test_large_appends_come_back(self, storage: Storage) -> None:
        """Entries of 1 byte to 100 kB, and thousands of them at once, come back (CP-7, CP-33)."""
        sizes = [1, 100_000, 10, 65_536, 1_000]
        storage.append_thread("sizes", [{"payload": "é" * size} for size in sizes])
        storage.append_thread("many", ({"payload": number} for number in range(5_000)))

        assert [len(payload) for payload in payloads(storage.load_thread("sizes"))] == sizes
        assert payloads(storage.load_thread("many")) == list(range(5_000))
