"""The part of ``StorageContract`` about threads that belong to an agent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from torpor.storage.errors import OwnedThreadError
from torpor.storage.records import Change, Record, Space
from torpor.storage.testing.kit import (
    ContractKit,
    all_pages,
    checkpoint,
    head_of,
    owned,
    payloads,
    put,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage.base import Storage
    from torpor.storage.records import ThreadHead


class OwnedThreadContract(ContractKit):
    """A record and its thread are one: written together, read together, gone together."""

    def test_record_and_entries_are_one_change(self, storage: Storage) -> None:
        """The head of the thread is in the record that was put with it (rule 6, W-22)."""
        storage.commit([owned("agent", "agent#1", "a", "b", value=1)])

        found = checkpoint(storage, "agent")
        assert found.thread is not None
        assert (found.thread.id, found.thread.rev) == ("agent#1", 2)
        assert storage.thread_head("agent#1") == found.thread
        assert payloads(storage.load_thread("agent#1")) == ["a", "b"]

    def test_owned_thread_grows_with_its_record(self, storage: Storage) -> None:
        """Later changes append after what is there (rule 5, rule 6)."""
        first = _grow(storage, "a")
        second = _grow(storage, "b", "c")

        assert (first.rev, second.rev) == (1, 3)
        assert second.created_at == first.created_at
        thread = storage.load_thread("agent#1")
        assert [(entry.seq, entry.payload) for entry in thread or ()] == [
            (0, "a"),
            (1, "b"),
            (2, "c"),
        ]

    @pytest.mark.parametrize("key", ["a#b", "#", "##", "agent#1#2", "é#\N{GRINNING FACE}"])
    def test_owner_may_have_any_key(self, storage: Storage, key: str) -> None:
        """The mark between key and unique id is looked for from the end (rule 6, rule 9)."""
        storage.commit([owned(key, f"{key}#id", 1)])

        assert head_of(storage, f"{key}#id").rev == 1
        with pytest.raises(OwnedThreadError):
            storage.append_thread(f"{key}#id", {})

    def test_longest_key_owns_a_thread(self, storage: Storage) -> None:
        """The unique id does not count as a part of the key (rule 6, rule 9)."""
        key = "k" * 512
        storage.commit([owned(key, f"{key}#{'1' * 24}", "a")])

        assert payloads(storage.load_thread(f"{key}#{'1' * 24}")) == ["a"]

    def test_put_keeps_the_thread(self, storage: Storage) -> None:
        """A put without a thread leaves pointer and entries as they are (rule 6)."""
        head = _grow(storage, "a")

        storage.put_checkpoint("agent", "new", expected_rev=1)

        assert checkpoint(storage, "agent").thread == head
        assert payloads(storage.load_thread("agent#1")) == ["a"]

    def test_nobody_else_writes_it(self, storage: Storage) -> None:
        """An owned thread is only written through its owner (rule 6)."""
        storage.commit([owned("agent", "agent#1", "a", value=1)])
        before = checkpoint(storage, "agent")

        calls: list[Callable[[], object]] = [
            lambda: storage.append_thread("agent#1", {}),
            lambda: storage.append_thread("agent#1", [], expected_rev=0),
            lambda: storage.trim_thread("agent#1", 1),
            lambda: storage.delete_thread("agent#1"),
        ]
        for call in calls:
            with pytest.raises(OwnedThreadError) as caught:
                call()
            assert caught.value.key == "agent#1"

        assert checkpoint(storage, "agent") == before
        assert payloads(storage.load_thread("agent#1")) == ["a"]

    def test_like_named_thread_is_free(self, storage: Storage) -> None:
        """An id that looks owned is a standalone thread unless its owner says so (rule 6)."""
        storage.commit([owned("agent", "agent#1", "a")])

        storage.append_thread("agent#2", {"payload": "free"})

        assert payloads(storage.load_thread("agent#2")) == ["free"]
        assert payloads(storage.load_thread("agent#1")) == ["a"]

    def test_delete_takes_the_thread(self, storage: Storage) -> None:
        """With the record its thread goes, and nothing of it comes back (rule 6, W-36)."""
        storage.commit([owned("agent", "agent#1", "a")])

        storage.delete_checkpoint("agent")

        assert storage.thread_head("agent#1") is None
        assert storage.load_thread("agent#1") is None
        storage.put_checkpoint("agent", "reborn")
        assert checkpoint(storage, "agent").thread is None
        storage.commit([owned("agent", "agent#2", "b")])
        assert payloads(storage.load_thread("agent#2")) == ["b"]
        assert storage.load_thread("agent#1") is None

    def test_another_thread_replaces_it(self, storage: Storage) -> None:
        """A change that names a new thread begins it at 0 and removes the old (rule 6, PE-28)."""
        storage.commit([owned("agent", "agent#1", "a", "b")])

        storage.commit([owned("agent", "agent#2", "c")])

        assert checkpoint(storage, "agent").thread == head_of(storage, "agent#2")
        assert head_of(storage, "agent#2").rev == 1
        assert payloads(storage.load_thread("agent#2")) == ["c"]
        assert storage.thread_head("agent#1") is None
        assert storage.load_thread("agent#1") is None

    def test_removed_entries_stay_removed(self, storage: Storage) -> None:
        """A thread id that is used again shows nothing from before (rule 5, rule 6)."""
        storage.commit([owned("agent", "agent#1", "old", "old", "old")])
        storage.commit([owned("agent", "agent#2")])

        storage.commit([owned("agent", "agent#1", "new")])

        assert payloads(storage.load_thread("agent#1")) == ["new"]

    def test_empty_thread_is_known(self, storage: Storage) -> None:
        """An owner may point at a thread without entries, and is read back (W-3)."""
        storage.commit([owned("agent", "agent#1", value=1)])

        [record] = storage.read(["agent"])
        assert isinstance(record, Record)
        assert record.thread == head_of(storage, "agent#1")
        assert head_of(storage, "agent#1").rev == 0
        assert storage.load_thread("agent#1") is None

    def test_trim_through_the_owner(self, storage: Storage) -> None:
        """A change may trim while it appends; a wholly trimmed thread is no damage (rule 6)."""
        storage.commit([owned("agent", "agent#1", 0, 1, 2)])
        storage.commit([owned("agent", "agent#1", 3, trim_before=2)])
        assert payloads(storage.load_thread("agent#1")) == [2, 3]

        storage.commit([owned("agent", "agent#1", trim_before=4)])

        [record] = storage.read(["agent"])
        assert isinstance(record, Record)
        assert head_of(storage, "agent#1").rev == 4
        assert storage.commit([owned("agent", "agent#1", 4)])
        assert payloads(storage.load_thread("agent#1")) == [4]

    def test_threads_of_owners_are_not_listed(self, storage: Storage) -> None:
        """A listing of threads holds the standalone ones (rule 6)."""
        storage.commit([owned("agent", "agent#1", "a")])
        storage.append_thread("log", {})

        assert [record.key for record in all_pages(storage, Space.THREADS)] == ["log"]

    def test_readers_never_see_half_a_change(self, storage: Storage) -> None:
        """Whoever reads while an owner writes sees the record with all its entries (rule 1)."""
        written = 300
        storage.commit([owned("agent", "agent#1", 0, value=1)])
        done = threading.Event()

        def write() -> int:
            try:
                for number in range(1, written):
                    storage.commit([owned("agent", "agent#1", number, value=number + 1)])
            finally:
                done.set()
            return written

        def read() -> int:
            seen = 0
            while not done.is_set():
                [record] = storage.read(["agent"])
                assert isinstance(record, Record), record
                assert record.thread is not None
                seen = int(record.data or 0)
                assert record.thread.rev == seen
                entries = storage.read_entries("agent#1", 0, seen)
                assert [entry.payload for entry in entries] == list(range(seen))
            return seen

        together(write, read, read)

        assert head_of(storage, "agent#1").rev == written

    def test_delete_and_put_in_one_batch(self, storage: Storage) -> None:
        """Owners of one batch come and go without touching each other (rule 2)."""
        storage.commit([owned("old", "old#1", "a"), put("plain", 1)])

        storage.commit([Change(key="old", delete=True), owned("new", "new#1", "b")])

        assert storage.load_thread("old#1") is None
        assert payloads(storage.load_thread("new#1")) == ["b"]
        assert checkpoint(storage, "plain").value == 1


def _grow(storage: Storage, *entries: str) -> ThreadHead:
    """Append to the thread of "agent" and return its head."""
    storage.commit([owned("agent", "agent#1", *entries)])
    return head_of(storage, "agent#1")
