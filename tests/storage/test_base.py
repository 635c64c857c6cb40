"""What the base class of storages does itself: races between readings, damage, sending again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from torpor.storage import (
    Change,
    Conflict,
    Entry,
    Put,
    Record,
    Rejected,
    Saved,
    Storage,
    ThreadWrite,
)
from torpor.storage.errors import (
    ConflictError,
    CorruptRecordError,
    MissingThreadError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    ThreadMismatchError,
)
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing.kit import append, checkpoint, owned, payloads, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torpor.storage.faults import Operation


class Interrupted(FaultyStorage):
    """Lets somebody else write just before the next calls of an operation."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self._others: dict[str, list[Callable[[], object]]] = {}

    def before(self, operation: Operation, *writes: Callable[[], object]) -> None:
        """Do the n-th write before the n-th next call."""
        self._others[operation] = list(writes)

    def _interrupt(self, operation: Operation) -> None:
        if waiting := self._others.get(operation):
            waiting.pop(0)()

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        self._interrupt("read_entry_ids")
        return super()._read_entry_ids(places)

    def _read_entries(self, *args: Any, **options: Any) -> Sequence[Entry]:
        self._interrupt("read_entries")
        return super()._read_entries(*args, **options)

    def _commit(self, changes: Sequence[Change]) -> Sequence[Saved | Conflict | Rejected]:
        self._interrupt("commit")
        return super()._commit(changes)


@pytest.fixture
def inner() -> Iterator[Storage]:
    """Return the storage that others write to."""
    with MemoryStorage() as storage:
        yield storage


@pytest.fixture
def storage(inner: Storage) -> Interrupted:
    """Return the storage under test."""
    return Interrupted(inner)


class TestRaces:
    """What changes between two readings is no damage."""

    def test_thread_trimmed_while_it_is_loaded(self, storage: Interrupted, inner: Storage) -> None:
        """The thread is read as it is after the trim (rule 13, W-9)."""
        inner.append_thread("log", [{"payload": number} for number in range(4)])
        storage.before("read_entries", lambda: inner.trim_thread("log", 2))

        assert payloads(storage.load_thread("log")) == [2, 3]

    def test_thread_deleted_while_it_is_loaded(self, storage: Interrupted, inner: Storage) -> None:
        """A thread that goes while it is read is missing (rule 13, W-9)."""
        inner.append_thread("log", [{}, {}])
        storage.before("read_entries", lambda: inner.delete_thread("log"))

        assert storage.load_thread("log") is None

    def test_thread_replaced_while_it_is_loaded(self, storage: Interrupted, inner: Storage) -> None:
        """A thread that is made again while it is read is the new one (rule 13, W-9)."""
        inner.append_thread("log", [{}, {}])

        def replace_it() -> None:
            inner.delete_thread("log")
            inner.append_thread("log", {"payload": "new"})

        storage.before("read_entries", replace_it)

        assert payloads(storage.load_thread("log")) == ["new"]

    def test_owner_written_while_it_is_read(self, storage: Interrupted, inner: Storage) -> None:
        """A record that changes while its pointer is verified is read again (rule 13)."""
        inner.commit([owned("agent", "agent#1", "a", value=1), put("other", 1)])
        storage.before(
            "read_entry_ids",
            lambda: inner.commit([owned("agent", "agent#2", "b", value=2)]),
            lambda: inner.commit([owned("agent", "agent#2", "c", value=3, trim_before=2)]),
        )

        agent, other = storage.read(["agent", "other"])

        assert isinstance(agent, Record)
        assert agent.data == "3"
        assert isinstance(other, Record)

    def test_owner_deleted_while_it_is_read(self, storage: Interrupted, inner: Storage) -> None:
        """A record that goes while its pointer is verified is missing (rule 8, rule 13)."""
        inner.commit([owned("agent", "agent#1", "a")])
        storage.before("read_entry_ids", lambda: inner.delete_checkpoint("agent"))

        assert storage.read(["agent"]) == [None]

    def test_appended_to_while_it_is_trimmed(self, storage: Interrupted, inner: Storage) -> None:
        """A trim does not undo the wake-up time of an append that came between (rule 12)."""
        inner.append_thread("log", [{}, {}], wake_at=1.0)
        storage.before("commit", lambda: inner.append_thread("log", {}, wake_at=2.0))

        head = storage.trim_thread("log", 1)

        assert head is not None
        assert (head.rev, head.start) == (3, 1)
        assert [due.wake_at for due in inner.list_due(10.0)] == [2.0]

    def test_deleted_while_it_is_trimmed(self, storage: Interrupted, inner: Storage) -> None:
        """A trim does not bring back a thread that was deleted meanwhile (rule 4)."""
        inner.append_thread("log", [{}, {}])
        storage.before("commit", lambda: inner.delete_thread("log"))

        assert storage.trim_thread("log", 1) is None
        assert inner.thread_head("log") is None


class Damaged(MemoryStorage):
    """Loses or changes entries."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()
        self.changed: set[str] = set()

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        ids = super()._read_entry_ids(places)
        return [
            None if thread_id in self.lost else "other" if thread_id in self.changed else entry_id
            for (thread_id, _), entry_id in zip(places, ids, strict=True)
        ]

    def _read_entries(self, *args: Any, **options: Any) -> Sequence[Entry]:
        if args[0] in self.lost:
            return ()
        return super()._read_entries(*args, **options)


class TestDamage:
    """A pointer that leads nowhere is told, by the record that has it."""

    def test_pointer_is_verified(self) -> None:
        """A lost thread and a thread that ends otherwise are damage of their own kind (W-20)."""
        with Damaged() as storage:
            storage.commit([owned(key, f"{key}#1", "a", "b") for key in "abc"])
            storage.lost.add("a#1")
            storage.changed.add("b#1")

            a, b, c = storage.read(["a", "b", "c"])

        assert isinstance(a, MissingThreadError)
        assert a.key == "a#1"
        assert isinstance(b, ThreadMismatchError)
        assert b.key == "b#1"
        assert isinstance(c, Record)

    def test_gap_is_damage(self) -> None:
        """Entries that the head counts and nobody finds are corruption (rule 5, TH-32)."""
        with Damaged() as storage:
            storage.append_thread("log", [{}, {}])
            storage.lost.add("log")

            with pytest.raises(CorruptRecordError, match="gaps"):
                storage.load_thread("log")


class TestSendingAgain:
    """The writing operations retry what may pass, with the same change."""

    @pytest.mark.parametrize("error", [StorageUnavailableError, StorageFullError])
    def test_transient_errors_are_retried(
        self, storage: Interrupted, error: type[StorageError]
    ) -> None:
        """A put, an append and a delete outlast errors that pass by themselves (rule 3)."""
        for operation in (
            lambda: storage.put_checkpoint("agent", 1),
            lambda: storage.append_thread("log", {}),
            lambda: storage.trim_thread("log", 1),
            lambda: storage.delete_thread("log"),
            lambda: storage.delete_checkpoint("agent"),
        ):
            storage.fail_next("commit", error=error, times=3)
            operation()

        assert storage.calls["commit"] == 20

    def test_other_errors_are_not(self, storage: Interrupted) -> None:
        """What another try can't change is raised at once."""
        storage.fail_next("commit", error=StorageError)

        with pytest.raises(StorageError):
            storage.put_checkpoint("agent", 1)
        assert storage.calls["commit"] == 1

    def test_conflict_at_once_was_not_applied(self, storage: Interrupted) -> None:
        """A conflict at the first try means that nothing was written (rule 2)."""
        storage.put_checkpoint("agent", 1)

        with pytest.raises(ConflictError) as caught:
            storage.put_checkpoint("agent", 2, expected_rev=0)
        assert caught.value.outcome == "not_applied"

    def test_conflict_of_a_resend_is_unknown(self, storage: Interrupted, inner: Storage) -> None:
        """Written, not confirmed, overwritten: nobody can say that it was not applied (rule 3)."""
        storage.fail_next("commit", after=True)
        storage.before("commit", lambda: None, lambda: inner.put_checkpoint("agent", "theirs"))

        with pytest.raises(ConflictError) as caught:
            storage.put_checkpoint("agent", "mine", expected_rev=0)

        assert caught.value.outcome == "unknown"
        assert (caught.value.expected, caught.value.found) == (0, 2)
        assert checkpoint(inner, "agent").value == "theirs"

    def test_commit_does_not_retry(self, storage: Interrupted) -> None:
        """Who commits by hand decides by hand."""
        storage.fail_next("commit")

        with pytest.raises(StorageUnavailableError):
            storage.commit([put("agent")])
        assert storage.calls["commit"] == 1


class Forgetful(MemoryStorage):
    """Leaves out what became of the last change."""

    def _commit(self, changes: Sequence[Change]) -> Sequence[Saved | Conflict | Rejected]:
        return super()._commit(changes)[:-1]


class TestOutcomes:
    """Every change has one."""

    def test_missing_outcome_is_an_error_of_the_batch(self) -> None:
        """Nobody takes a neighbour's outcome for theirs, or waits for one."""
        with (
            Forgetful() as storage,
            pytest.raises(StorageError, match="memory: 1 outcomes of 2 changes"),
        ):
            storage.commit([put("first"), put("second")])


class TestUnstorableChanges:
    """A change without a JSON form is rejected alone."""

    @pytest.mark.parametrize(
        "change",
        [
            Change(key="bad", put=Put(data='"\ud800"')),
            replace(put("bad"), thread=ThreadWrite(id="bad#1", metadata={"m": object()})),
            owned("bad", "bad#1", {1, 2}),
            append("bad", "\ud800"),
        ],
        ids=["data", "metadata", "payload", "surrogate"],
    )
    def test_unstorable_change_is_rejected_alone(self, change: Change) -> None:
        """Its neighbours are saved, and it leaves nothing (rule 1, rule 10)."""
        with MemoryStorage() as storage:
            before, bad, after = storage.commit([put("before"), change, put("after")])

            assert isinstance(before, Saved)
            assert isinstance(bad, Rejected)
            assert "'bad' cannot be stored" in str(bad.error)
            assert isinstance(after, Saved)
            assert storage.get_checkpoint("bad") is None
            assert storage.thread_head("bad") is None

    def test_other_mistakes_are_not_hidden(self, storage: Interrupted) -> None:
        """An error of the backend's own is raised as it is."""
        storage.fail_next("commit", error=TypeError("a bug"))

        with pytest.raises(TypeError, match="a bug"):
            storage.commit([put("agent")])
