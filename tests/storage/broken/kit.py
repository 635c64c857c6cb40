"""What broken storages are: storages in memory that each break one rule of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tests.storage.memory_kit import Alone
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from torpor.storage.testing import StorageContract

__all__ = ["Broken"]


class Broken(MemoryStorage):
    """Breaks ``rule``, which the tests of ``contract`` notice."""

    rule: ClassVar[int]
    contract: ClassVar[type[StorageContract]] = Alone
