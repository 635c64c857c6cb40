"""``FaultyStorage`` misbehaves exactly as it is told, and otherwise not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from torpor.storage.errors import (
    CorruptRecordError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from torpor.storage.faulty import Conflicts, Fail, FaultyStorage, Slow, Torn
from torpor.storage.testing import StorageContract
from torpor.storage.testing.kit import put

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage import Storage
    from torpor.storage.faults import Fault


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
