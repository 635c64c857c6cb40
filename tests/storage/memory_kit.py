"""What the tests of storage in memory share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from torpor.storage.memory import MemoryStorage
from torpor.storage.testing import StorageContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage import Storage

__all__ = ["Alone", "count_locks"]


class _CountingLock:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.taken = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def count_locks(storage: Storage, work: Callable[[], object]) -> int:
    """Return how often the storage takes its lock: each time it may have to wait for it."""
    assert isinstance(storage, MemoryStorage)
    lock = _CountingLock()
    vars(storage)["_lock"] = lock
    work()
    return lock.taken


class Alone(StorageContract):
    """The contract of a storage that is its own place."""

    second_instance = False
    second_process = False
    damageable = False
    severable = False

    def count_steps(self, storage: Storage, work: Callable[[], object]) -> int:
        """Count how often its lock is taken."""
        return count_locks(storage, work)
