"""Tests for every storage: subclass ``StorageContract``, and let pytest find the subclass.

::

    class TestMyStorage(StorageContract):
        ordered_listing = False                 # what this storage cannot do

        @pytest.fixture
        def storage(self, tmp_path):            # a new, empty storage for each test
            with MyStorage(tmp_path / "place") as storage:
                yield storage

        def opener(self, storage):              # the same place once more, in any process
            return functools.partial(MyStorage, storage.path)

The number of the rule of ``torpor.storage.base`` that a test shows stands at the end of its
docstring. ``StorageStateMachine`` compares a storage with a model of it over random sequences
of operations. These modules need pytest and hypothesis; nothing else of Torpor does.
"""

from __future__ import annotations

from torpor.storage.testing.contract import StorageContract
from torpor.storage.testing.machine import StorageStateMachine

__all__ = ["StorageContract", "StorageStateMachine"]
