"""The part of ``StorageContract`` about many threads, many instances, and the end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from torpor.storage.errors import StorageClosedError
from torpor.storage.records import Conflict, Saved, Space
from torpor.storage.testing.kit import (
    ContractKit,
    all_pages,
    append,
    checkpoint,
    head_of,
    increment,
    needs,
    owned,
    payloads,
    put,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage.base import Storage
    from torpor.storage.records import Change, Outcome


class ThreadSafetyContract(ContractKit):
    """Many threads on one storage."""

    def test_one_of_many_equal_savers_wins(self, storage: Storage) -> None:
        """Of eight that expect the same revision one saves, the rest conflict (rule 13, W-19)."""
        for rev in range(3):
            outcomes = together(
                *(_commit(storage, put("agent", n, expected_rev=rev)) for n in range(8))
            )

            saved = [number for number, outcome in enumerate(outcomes) if outcome == Saved(rev + 1)]
            assert len(saved) == 1
            assert outcomes.count(Conflict("agent", rev, rev + 1)) == 7
            assert checkpoint(storage, "agent").value == saved[0]

    def test_savers_of_different_keys_all_win(self, storage: Storage) -> None:
        """Nobody conflicts who writes what nobody else writes (rule 13, TH-27)."""

        def write(number: int) -> None:
            for rev in range(10):
                storage.put_checkpoint(f"agent {number}", rev, expected_rev=rev)
                storage.append_thread(f"log {number}", {"payload": rev}, expected_rev=rev)

        together(*(partial(write, number) for number in range(8)))

        for number in range(8):
            assert checkpoint(storage, f"agent {number}").rev == 10
            assert payloads(storage.load_thread(f"log {number}")) == list(range(10))

    def test_unconditional_appends_all_arrive(self, storage: Storage) -> None:
        """40 appends by 20 threads are 40 entries without gaps (rule 5, rule 13, TH-25, TH-28)."""
        storage.append_thread("log", {"payload": "first"})

        def write(number: int) -> None:
            for part in range(2):
                storage.append_thread("log", {"payload": [number, part]})

        together(*(partial(write, number) for number in range(20)))

        thread = storage.load_thread("log")
        assert thread is not None
        assert thread.head.rev == 41
        assert [entry.seq for entry in thread] == list(range(41))
        arrived = payloads(thread)[1:]
        assert sorted(arrived) == [[number, part] for number in range(20) for part in range(2)]
        for number in range(20):
            assert arrived.index([number, 0]) < arrived.index([number, 1])

    def test_one_of_two_equal_appends_wins(self, storage: Storage) -> None:
        """Of two that expect the same ``rev`` one appends, one conflicts (rule 13, TH-26)."""
        for rev in range(10):
            outcomes = together(
                *(_commit(storage, append("log", n, expected_rev=rev)) for n in range(2))
            )

            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Saved"]
            assert head_of(storage, "log").rev == rev + 1

    def test_counters_lose_no_increment(self, storage: Storage) -> None:
        """Compare-and-set from many threads adds up (rule 2, rule 13, W-19)."""

        def count() -> None:
            for _ in range(10):
                increment(storage, "counter")

        together(*[count] * 8)

        assert checkpoint(storage, "counter").value == 80

    def test_batches_in_any_order_do_not_block_each_other(self, storage: Storage) -> None:
        """Batches over the same keys in opposite orders all end (rule 11, rule 13)."""
        keys = [f"agent {number}" for number in range(20)]

        def write(order: int) -> None:
            for _ in range(10):
                batch = [owned(key, f"{key}#1", order) for key in keys[::order]]
                assert all(isinstance(outcome, Saved) for outcome in storage.commit(batch))

        together(*(partial(write, order) for order in (1, -1, 1, -1)))

        for key in keys:
            assert checkpoint(storage, key).rev == 40
            assert len(payloads(storage.load_thread(f"{key}#1"))) == 40


class InstanceContract(ContractKit):
    """More than one storage on one place, at a time or one after the other."""

    @needs("second_instance")
    def test_second_instance_sees_what_is_saved(self, storage: Storage) -> None:
        """What one instance saved another reads at once, and back (rule 3, rule 13)."""
        with self.opener(storage)() as second:
            storage.put_checkpoint("agent", 1)
            storage.append_thread("log", {"payload": 1})
            for reader in (storage, second):
                assert checkpoint(reader, "agent").value == 1
                assert payloads(reader.load_thread("log")) == [1]
                assert reader.get_checkpoint("later") is None

            second.put_checkpoint("agent", 2, expected_rev=1)
            second.append_thread("log", {"payload": 2}, expected_rev=1)
            second.put_checkpoint("later", 3)
            for reader in (storage, second):
                assert checkpoint(reader, "agent").value == 2
                assert payloads(reader.load_thread("log")) == [1, 2]
                assert checkpoint(reader, "later").value == 3

    @needs("second_instance")
    def test_second_instance_fences_the_first(self, storage: Storage) -> None:
        """A write that is behind another instance's conflicts (rule 13, W-19, W-21, HC-6)."""
        storage.commit([owned("agent", "agent#1", "a", value="a")])
        storage.append_thread("log", {"payload": "a"})
        with self.opener(storage)() as second:
            second.commit([owned("agent", "agent#1", "b", value="b", expected_rev=1)])
            second.append_thread("log", {"payload": "b"}, expected_rev=1)
            second.delete_checkpoint("agent 2")

        outcomes = storage.commit(
            [
                owned("agent", "agent#1", "lost", value="lost", expected_rev=1),
                append("log", "lost", expected_rev=1),
            ]
        )

        assert outcomes == [Conflict("agent", 1, 2), Conflict("log", 1, 2)]
        assert payloads(storage.load_thread("agent#1")) == ["a", "b"]
        assert payloads(storage.load_thread("log")) == ["a", "b"]

    @needs("second_instance")
    def test_instances_lose_no_increment(self, storage: Storage) -> None:
        """Compare-and-set and appends through several instances add up (rule 13, W-21)."""

        def count(mine: Storage) -> None:
            with mine:
                for _ in range(10):
                    increment(mine, "counter")
                    mine.append_thread("log", {})

        together(*(partial(count, self.opener(storage)()) for _ in range(4)))

        assert checkpoint(storage, "counter").value == 40
        thread = storage.load_thread("log")
        assert [entry.seq for entry in thread or ()] == list(range(40))

    @needs("second_instance")
    def test_saved_state_outlives_its_storage(self, storage: Storage) -> None:
        """After close and reopen all is there, tombstones and change ids too (rule 3, rule 4)."""
        reopen = self.opener(storage)
        last = owned("agent", "agent#1", "b", value=2, wake_at=5.0, expected_rev=1)
        storage.commit([owned("agent", "agent#1", "a", value=1), put("deleted", 1)])
        storage.append_thread("log", [{"payload": 1}, {"payload": 2}], metadata={"m": 1})
        storage.trim_thread("log", 1)
        storage.delete_checkpoint("deleted")
        storage.commit([last])
        agent, log = checkpoint(storage, "agent"), storage.load_thread("log")
        storage.close()

        with reopen() as again:
            assert checkpoint(again, "agent") == agent
            assert payloads(again.load_thread("agent#1")) == ["a", "b"]
            assert again.load_thread("log") == log
            assert [record.key for record in all_pages(again, Space.CHECKPOINTS)] == ["agent"]
            assert [due.key for due in again.list_due(5.0)] == ["agent"]
            assert again.commit([last]) == [Saved(2, agent.thread)]
            assert again.put_checkpoint("deleted", 2, expected_rev=0) == 2

    @needs("second_instance")
    def test_closing_one_leaves_the_other(self, storage: Storage) -> None:
        """Instances on one place end independently (rule 13)."""
        self.opener(storage)().close()

        storage.put_checkpoint("agent", 1)

        assert checkpoint(storage, "agent").value == 1

    def test_close_may_be_called_again(self, storage: Storage) -> None:
        """Closing what is closed is no error."""
        storage.close()
        storage.close()
        with storage:
            pass

    def test_closed_storage_refuses_all(self, storage: Storage) -> None:
        """Every operation after close is a ``StorageClosedError`` (rule 8)."""
        storage.put_checkpoint("agent", 1)
        storage.append_thread("log", {})
        storage.close()

        calls: list[Callable[[], object]] = [
            lambda: storage.get_checkpoint("agent"),
            lambda: storage.read(["agent"]),
            lambda: storage.read([]),
            lambda: storage.put_checkpoint("agent", 2),
            lambda: storage.delete_checkpoint("agent"),
            lambda: storage.thread_head("log"),
            lambda: storage.load_thread("log"),
            lambda: storage.read_entries("log", 0, 1),
            lambda: storage.append_thread("log", {}),
            lambda: storage.trim_thread("log", 1),
            lambda: storage.delete_thread("log"),
            lambda: storage.commit([put("agent", 1)]),
            lambda: storage.commit([]),
            storage.list_checkpoints,
            storage.list_threads,
            lambda: storage.list_due(1.0),
            lambda: storage.vacuum(0),
        ]
        for call in calls:
            with pytest.raises(StorageClosedError):
                call()


def _commit(storage: Storage, change: Change) -> Callable[[], Outcome]:
    return lambda: storage.commit([change])[0]
