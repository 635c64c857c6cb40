"""``FaultyStorage`` lets each operation fail, or all of them while it is disconnected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from torpor.storage import Space, Storage
from torpor.storage.errors import StorageFullError, StorageUnavailableError
from torpor.storage.testing.kit import append, owned, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage.faults import Operation
    from torpor.storage.faulty import FaultyStorage


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
