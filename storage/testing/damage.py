"""The part of ``StorageContract`` about storages that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from torpor.storage.errors import CorruptRecordError, StorageError
from torpor.storage.faulty import FaultyStorage
from torpor.storage.records import Conflict, Record, Rejected, Saved, Space
from torpor.storage.testing.kit import (
    ContractKit,
    all_pages,
    append,
    checkpoint,
    head_of,
    needs,
    owned,
    payloads,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage.base import Storage
    from torpor.storage.faults import Operation
    from torpor.storage.records import Change


class FailureContract(ContractKit):
    """A failure is told as what it is, never as a missing key."""

    @pytest.mark.parametrize("operation", ["read", "read_entries", "read_entry_ids", "commit"])
    def test_failure_is_passed_on(self, storage: Storage, operation: Operation) -> None:
        """What a backend raises reaches the caller as it is (rule 8, CP-11, TH-31)."""
        storage.commit([owned("agent", "agent#1", "a"), append("log", "a")])
        faulty = FaultyStorage(storage)
        lost = StorageError("connection closed")
        calls: dict[Operation, list[Callable[[], object]]] = {
            "read": [
                lambda: faulty.get_checkpoint("agent"),
                lambda: faulty.read(["agent"]),
                lambda: faulty.thread_head("log"),
                lambda: faulty.load_thread("log"),
            ],
            "read_entries": [lambda: faulty.load_thread("log")],
            "read_entry_ids": [lambda: faulty.read(["agent"])],
            "commit": [
                lambda: faulty.put_checkpoint("agent", 1),
                lambda: faulty.append_thread("log", {}),
                lambda: faulty.delete_checkpoint("agent"),
            ],
        }

        for call in calls[operation]:
            faulty.fail_next(operation, error=lost)
            with pytest.raises(StorageError) as caught:
                call()
            assert caught.value is lost

        assert payloads(storage.load_thread("agent#1")) == ["a"]
        assert payloads(storage.load_thread("log")) == ["a"]

    @needs("severable")
    def test_lost_place_is_not_an_empty_one(self, storage: Storage) -> None:
        """When the place can't be reached, nothing looks deleted (rule 8, CP-11, TH-31)."""
        storage.commit([owned("agent", "agent#1", "a"), append("log", "a")])

        self.sever(storage)

        calls: list[Callable[[], object]] = [
            lambda: storage.get_checkpoint("agent"),
            lambda: storage.get_checkpoint("missing"),
            lambda: storage.read(["agent"]),
            lambda: storage.thread_head("log"),
            lambda: storage.load_thread("log"),
            lambda: _must_save(storage, put("agent", 1)),
            lambda: _must_save(storage, append("log", "b")),
            storage.list_checkpoints,
            storage.list_threads,
            lambda: storage.list_due(1.0),
        ]
        for call in calls:
            with pytest.raises(StorageError) as caught:
                call()
            assert not isinstance(caught.value, CorruptRecordError)
            assert caught.value.__cause__ is not None


class DamageContract(ContractKit):
    """Bytes that were changed behind the storage's back are noticed and left alone."""

    @needs("damageable")
    def test_damaged_checkpoint_is_noticed(self, storage: Storage) -> None:
        """A record that fails its checksum is an error, at each reading (rule 10, CP-12)."""
        storage.put_checkpoint("agent", {"text": "original"}, kind="kind")
        self.damage_record(storage, Space.CHECKPOINTS, "agent")

        for _ in range(2):
            with pytest.raises(CorruptRecordError) as caught:
                storage.get_checkpoint("agent")
            assert caught.value.key == "agent"

    @needs("damageable")
    def test_damaged_checkpoint_is_not_taken_for_none(self, storage: Storage) -> None:
        """No fresh record takes its place, and its neighbours are written (rule 10, W-10)."""
        storage.put_checkpoint("agent", {"text": "original"})
        self.damage_record(storage, Space.CHECKPOINTS, "agent")

        before, fresh, after = storage.commit(
            [put("before", 1), put("agent", "fresh", expected_rev=0), put("after", 1)]
        )

        assert isinstance(before, Saved)
        assert isinstance(after, Saved)
        assert fresh == Conflict("agent", 0, 1) or (
            isinstance(fresh, Rejected) and isinstance(fresh.error, CorruptRecordError)
        )
        with pytest.raises(CorruptRecordError):
            storage.get_checkpoint("agent")

    @needs("damageable")
    def test_damaged_checkpoint_disturbs_no_other(self, storage: Storage) -> None:
        """In a batch it is answered by its error, in listings it is passed over (rule 10)."""
        storage.commit([put(key, key) for key in "abc"])
        self.damage_record(storage, Space.CHECKPOINTS, "b")

        a, b, c = storage.read(["a", "b", "c"])

        assert isinstance(a, Record)
        assert isinstance(b, CorruptRecordError)
        assert isinstance(c, Record)
        assert sorted(record.key for record in all_pages(storage, Space.CHECKPOINTS)) == ["a", "c"]

    @needs("damageable")
    def test_damaged_head_is_noticed(self, storage: Storage) -> None:
        """A thread whose head is damaged is neither read nor appended to (rule 10, TH-32)."""
        storage.append_thread("log", {"payload": 1}, metadata={"m": 1})
        self.damage_record(storage, Space.THREADS, "log")

        calls: list[Callable[[], object]] = [
            lambda: storage.thread_head("log"),
            lambda: storage.load_thread("log"),
            lambda: storage.append_thread("log", {}),
        ]
        for call in calls:
            with pytest.raises(CorruptRecordError):
                call()

    @needs("damageable")
    def test_damaged_entry_is_noticed(self, storage: Storage) -> None:
        """An entry that fails its checksum is an error where it is read (rule 10, TH-32)."""
        storage.append_thread("log", [{"payload": f"entry {number}"} for number in range(3)])
        storage.commit([owned("agent", "agent#1", "entry 0", "entry 1")])
        self.damage_entry(storage, "log", 1)
        self.damage_entry(storage, "agent#1", 0)

        for thread_id in ("log", "agent#1"):
            with pytest.raises(CorruptRecordError):
                storage.load_thread(thread_id)
        assert payloads(storage.load_thread("log", after=1)) == ["entry 2"]
        assert head_of(storage, "log").rev == 3
        assert checkpoint(storage, "agent").rev == 1


def _must_save(storage: Storage, change: Change) -> None:
    [outcome] = storage.commit([change])
    if isinstance(outcome, Rejected):
        raise outcome.error
    assert isinstance(outcome, Saved)
