"""``FaultyStorage`` misbehaves exactly as it is told, and otherwise not at all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from torpor.storage import Change, Conflict, Put, Saved, Space, Storage
from torpor.storage.errors import (
    ConflictError,
    CorruptRecordError,
    StorageClosedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from torpor.storage.faulty import Conflicts, Fail, FaultyStorage, Slow, Torn
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing import StorageContract
from torpor.storage.testing.kit import append, owned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage.faults import Fault, FaultKind, Operation

PATIENCE = 10


@pytest.fixture
def inner() -> Iterator[Storage]:
    """Return the storage that is wrapped."""
    with MemoryStorage() as storage:
        yield storage


@pytest.fixture
def faulty(inner: Storage) -> Iterator[FaultyStorage]:
    """Return a storage that behaves until it is told not to."""
    with FaultyStorage(inner, record=True) as storage:
        yield storage


class TestWithoutFaults(StorageContract):
    """Without a script it is what it wraps."""

    second_instance = False
    second_process = False
    damageable = False
    severable = False

    @pytest.fixture
    def storage(self, faulty: FaultyStorage) -> Storage:
        """Return a storage that behaves."""
        return faulty

    def count_steps(self, storage: Storage, work: Callable[[], object]) -> int:
        """Count the operations that reach the wrapped storage."""
        assert isinstance(storage, FaultyStorage)
        before = storage.calls.total()
        work()
        return storage.calls.total() - before


def put(key: str, value: int = 1, expected_rev: int | None = None) -> Change:
    """Return the change that puts a number."""
    return Change(key=key, put=Put(data=str(value)), expected_rev=expected_rev)


CALLS: dict[Operation, Callable[[Storage], object]] = {
    "commit": lambda storage: storage.commit([put("other")]),
    "inspect": lambda storage: list(storage.inspect()),
    "list": lambda storage: storage.list_checkpoints(),
    "list_due": lambda storage: storage.list_due(0.0),
    "list_keys": lambda storage: list(storage.all_keys(Space.CHECKPOINTS)),
    "list_thread_ids": lambda storage: list(storage.all_thread_ids()),
    "read": lambda storage: storage.get_checkpoint("agent"),
    "read_entries": lambda storage: storage.read_entries("log", 0, 1),
    "read_entry_ids": lambda storage: storage.read(["owner"]),
    "vacuum": lambda storage: storage.vacuum(0.0),
}


def _fill(storage: Storage) -> None:
    storage.commit([owned("owner", "owner#1", "a"), append("log", "a")])


@pytest.mark.parametrize("operation", CALLS)
def test_each_operation_can_fail(faulty: FaultyStorage, operation: Operation) -> None:
    """A scripted failure befalls that operation, once, and is counted."""
    _fill(faulty)
    before = faulty.calls[operation]
    faulty.fail_next(operation)

    with pytest.raises(StorageUnavailableError):
        CALLS[operation](faulty)
    CALLS[operation](faulty)

    assert faulty.calls[operation] == before + 2


def test_failure_before_writes_nothing(faulty: FaultyStorage, inner: Storage) -> None:
    """A commit that fails before the write leaves no trace."""
    faulty.fail_next("commit")

    with pytest.raises(StorageUnavailableError):
        faulty.commit([put("agent")])

    assert inner.get_checkpoint("agent") is None


def test_failure_after_has_written(faulty: FaultyStorage, inner: Storage) -> None:
    """A commit that fails after the write looks the same to its caller (HC-8)."""
    faulty.fail_next("commit", after=True)

    with pytest.raises(StorageUnavailableError):
        faulty.commit([put("agent")])

    assert inner.get_checkpoint("agent") is not None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StorageFullError("no space"), StorageFullError),
        (StorageError, StorageError),
        (CorruptRecordError("agent", "torn"), CorruptRecordError),
        (KeyboardInterrupt, KeyboardInterrupt),
        (None, StorageUnavailableError),
    ],
)
def test_error_is_chosen(
    faulty: FaultyStorage,
    error: BaseException | type[BaseException] | None,
    expected: type[BaseException],
) -> None:
    """What is raised is the given error, one of the given class, or unavailability."""
    faulty.fail_next("read", error=error, times=2)

    for _ in range(2):
        with pytest.raises(expected) as caught:
            faulty.get_checkpoint("agent")
        assert type(caught.value) is expected


def test_faults_queue_up(faulty: FaultyStorage) -> None:
    """Faults of one operation come in the order in which they were asked for."""
    faulty.fail_next("read", error=StorageFullError, times=2)
    faulty.fail_next("read", error=StorageError("third"))

    seen: list[type[Exception]] = []
    for _ in range(3):
        with pytest.raises(StorageError) as caught:
            faulty.get_checkpoint("agent")
        seen.append(caught.type)

    assert seen == [StorageFullError, StorageFullError, StorageError]
    assert faulty.get_checkpoint("agent") is None


def test_script_says_what_happens_when(inner: Storage) -> None:
    """A script holds the faults of each operation in order, None lets a call pass."""
    waits: list[float] = []
    faulty = FaultyStorage(
        inner, {"commit": [None, Fail(), Slow(2.5, waits.append)], "read": [Fail(StorageError)]}
    )

    faulty.commit([put("first")])
    with pytest.raises(StorageUnavailableError):
        faulty.commit([put("second")])
    faulty.commit([put("third")])
    with pytest.raises(StorageError):
        faulty.get_checkpoint("first")

    assert waits == [2.5]
    assert [record.key for record in inner.list_checkpoints()] == ["first", "third"]


def test_fault_for_some_keys(faulty: FaultyStorage) -> None:
    """A fault with keys waits for a call that concerns one of them, others pass."""
    faulty.fail_next("commit", keys={"poison"})
    faulty.fail_next("read", keys={"poison"})

    faulty.commit([put("agent")])
    faulty.get_checkpoint("agent")
    with pytest.raises(StorageUnavailableError):
        faulty.commit([put("agent"), put("poison")])
    with pytest.raises(StorageUnavailableError):
        faulty.read(["agent", "poison"])
    faulty.commit([put("poison")])


def test_hang_lasts_until_release(faulty: FaultyStorage, inner: Storage) -> None:
    """An operation that hangs says that it arrived, and goes on when it is released."""
    outcomes: list[object] = []
    with faulty.hang_next("commit") as hang:
        thread = threading.Thread(target=lambda: outcomes.extend(faulty.commit([put("agent")])))
        thread.start()
        assert hang.entered.wait(PATIENCE)
        assert inner.get_checkpoint("agent") is None
        assert faulty.get_checkpoint("other") is None

    thread.join(PATIENCE)
    assert outcomes == [Saved(1)]
    assert inner.get_checkpoint("agent") is not None


def test_hang_after_the_write(faulty: FaultyStorage, inner: Storage) -> None:
    """Only the answer may hang, while the write has been done."""
    outcomes: list[object] = []
    hang = faulty.hang_next("commit", after=True)
    thread = threading.Thread(target=lambda: outcomes.extend(faulty.commit([put("agent")])))
    thread.start()

    assert hang.entered.wait(PATIENCE)
    assert inner.get_checkpoint("agent") is not None
    assert outcomes == []

    hang.release()
    thread.join(PATIENCE)
    assert outcomes == [Saved(1)]


def test_release_may_come_first(faulty: FaultyStorage) -> None:
    """What has been released before it arrives does not hang at all."""
    hang = faulty.hang_next("read")
    hang.release()

    assert faulty.get_checkpoint("agent") is None
    assert hang.entered.is_set()


def test_close_ends_what_hangs(faulty: FaultyStorage, inner: Storage) -> None:
    """Closing lets no thread hang for ever, and leaves the wrapped storage open."""
    errors: list[BaseException] = []

    def read() -> None:
        try:
            faulty.get_checkpoint("agent")
        except StorageClosedError as error:
            errors.append(error)

    hang = faulty.hang_next("read")
    thread = threading.Thread(target=read)
    thread.start()
    assert hang.entered.wait(PATIENCE)

    faulty.close()

    thread.join(PATIENCE)
    assert len(errors) == 1
    assert inner.get_checkpoint("agent") is None


def test_slow_operation_uses_the_given_delay(inner: Storage) -> None:
    """A slow operation calls the injected delay, so a test need not wait."""
    waits: list[float] = []
    faulty = FaultyStorage(inner, delay=waits.append)
    faulty.slow_next("read", 60.0, times=2)

    for _ in range(3):
        assert faulty.get_checkpoint("agent") is None

    assert waits == [60.0, 60.0]


@pytest.mark.parametrize(("applied", "written"), [(0, []), (2, ["a", "b"]), (9, ["a", "b", "c"])])
def test_torn_batch(
    faulty: FaultyStorage, inner: Storage, applied: int, written: list[str]
) -> None:
    """Only the first changes of a torn batch are written, and the caller can't know which."""
    faulty.tear_next(applied)

    with pytest.raises(StorageUnavailableError):
        faulty.commit([put(key) for key in "abc"])

    assert [record.key for record in inner.list_checkpoints()] == written


def test_conflict_writes_nothing_and_passes(faulty: FaultyStorage, inner: Storage) -> None:
    """A made-up conflict is answered like a real one, and whoever reads again can go on."""
    faulty.put_checkpoint("agent", 1)
    faulty.conflict_next()

    with pytest.raises(ConflictError) as caught:
        faulty.put_checkpoint("agent", 2, expected_rev=1)
    assert (caught.value.expected, caught.value.found) == (1, 2)
    found = inner.get_checkpoint("agent")
    assert found is not None
    assert (found.rev, found.value) == (1, 1)

    assert faulty.put_checkpoint("agent", 2, expected_rev=1) == 2


def test_conflict_befalls_some_of_a_batch(faulty: FaultyStorage) -> None:
    """Changes of other keys, and those that compare nothing, are committed in their places."""
    faulty.conflict_next(keys={"b", "c"})

    outcomes = faulty.commit(
        [put("a", expected_rev=0), put("b", expected_rev=0), put("c"), put("d", expected_rev=7)]
    )

    assert outcomes == [Saved(1), Conflict("b", 0, 1), Saved(1), Conflict("d", 7, 0)]


def test_disconnected_refuses_everything(faulty: FaultyStorage) -> None:
    """Within the block no operation gets through, after it all do."""
    _fill(faulty)

    with faulty.disconnected():
        for call in CALLS.values():
            with pytest.raises(StorageUnavailableError):
                call(faulty)

    for call in CALLS.values():
        call(faulty)


def test_disconnected_for_some_operations(faulty: FaultyStorage) -> None:
    """The connection comes back by itself after so many calls, or when it is told to."""
    faulty.disconnect(operations=2)
    for call in (CALLS["read"], CALLS["commit"]):
        with pytest.raises(StorageUnavailableError):
            call(faulty)
    CALLS["read"](faulty)

    faulty.disconnect()
    faulty.reconnect()
    CALLS["commit"](faulty)


def test_disconnection_uses_up_no_fault(faulty: FaultyStorage) -> None:
    """A call that is refused does not meet the fault that waits for it."""
    faulty.fail_next("read", error=StorageFullError)
    with faulty.disconnected(), pytest.raises(StorageUnavailableError, match="disconnected"):
        faulty.get_checkpoint("agent")

    with pytest.raises(StorageFullError):
        faulty.get_checkpoint("agent")


def test_batches_are_recorded(faulty: FaultyStorage, inner: Storage) -> None:
    """Every batch is kept as it came, failed ones too; without ``record`` none."""
    first, second = (put("a"), put("b")), (put("c"),)
    faulty.fail_next("commit")
    with pytest.raises(StorageUnavailableError):
        faulty.commit(first)
    faulty.commit(second)

    assert faulty.batches == [first, second]
    silent = FaultyStorage(inner)
    silent.commit(second)
    assert silent.batches == []


def test_limits_are_those_of_the_wrapped_storage(inner: Storage) -> None:
    """Timeout and largest document are taken over, and may be set."""
    inner.timeout = 7.0
    inner.max_document_bytes = 100

    faulty = FaultyStorage(inner)
    assert (faulty.timeout, faulty.max_document_bytes) == (7.0, 100)

    faulty.timeout = 0.1
    assert inner.timeout == 7.0


@pytest.mark.parametrize("fault", [Torn(1), Conflicts()])
def test_fault_that_cannot_be_is_refused(faulty: FaultyStorage, fault: Fault) -> None:
    """Only a commit can be torn or conflict; a script that says otherwise is an error."""
    with pytest.raises(ValueError, match="commit"):
        faulty.next("read", fault)


def _behaviour(seed: int, rates: dict[FaultKind, float], calls: int = 200) -> list[str]:
    with MemoryStorage() as inner:
        waits: list[float] = []
        faulty = FaultyStorage.seeded(inner, seed, rates, delay=waits.append, slow_seconds=0.5)
        seen: list[str] = []
        for number in range(calls):
            waits.clear()
            try:
                [outcome] = faulty.commit([put(f"agent {number}", expected_rev=0)])
                seen.append("slow" if waits else type(outcome).__name__)
            except StorageUnavailableError:
                written = inner.get_checkpoint(f"agent {number}") is not None
                seen.append("failed after" if written else "failed before")
        return seen


def test_seed_decides() -> None:
    """The same seed means the same faults, another seed others."""
    rates: dict[FaultKind, float] = {
        "fail": 0.2,
        "fail_after": 0.2,
        "slow": 0.2,
        "torn": 0.1,
        "conflict": 0.1,
    }

    assert _behaviour(1, rates) == _behaviour(1, rates)
    assert _behaviour(1, rates) != _behaviour(2, rates)
    assert set(_behaviour(1, rates)) == {
        "failed after",
        "failed before",
        "slow",
        "Conflict",
        "Saved",
    }


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("fail", {"failed before"}),
        ("fail_after", {"failed after"}),
        ("slow", {"slow"}),
        ("torn", {"failed after", "failed before"}),
        ("conflict", {"Conflict"}),
    ],
)
def test_rate_of_one_is_always(kind: FaultKind, seen: set[str]) -> None:
    """A kind of fault at rate 1 befalls every commit, at rate 0 none."""
    assert set(_behaviour(3, {kind: 1.0})) == seen
    assert set(_behaviour(3, {kind: 0.0})) == {"Saved"}


def test_reads_are_neither_torn_nor_in_conflict(inner: Storage) -> None:
    """Faults of commits leave other operations alone."""
    faulty = FaultyStorage.seeded(inner, 1, {"torn": 0.5, "conflict": 0.5})

    assert [faulty.get_checkpoint("agent") for _ in range(20)] == [None] * 20


@pytest.mark.parametrize("rates", [{"fail": 1.1}, {"fail": 0.6, "slow": 0.6}, {"fail": -0.1}])
def test_impossible_rates_are_refused(inner: Storage, rates: dict[FaultKind, float]) -> None:
    """Rates are probabilities that add up to at most 1."""
    with pytest.raises(ValueError, match="rates"):
        FaultyStorage.seeded(inner, 1, rates)
