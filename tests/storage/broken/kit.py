"""What broken storages are: storages in memory that each break one rule of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tests.storage.memory_kit import count_locks
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing import StorageContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage import Storage

__all__ = ["Alone", "Broken"]


class Alone(StorageContract):
    """The contract of a storage that is its own place."""

    second_instance = False
    second_process = False
    damageable = False
    severable = False

    def count_steps(self, storage: Storage, work: Callable[[], object]) -> int:
        """Count how often its lock is taken."""
        return count_locks(storage, work)


class Broken(MemoryStorage):
    """Breaks ``rule``, which the tests of ``contract`` notice."""

    rule: ClassVar[int]
    contract: ClassVar[type[StorageContract]] = Alone
