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

import pytest

# All that assert something but the kit, which others may have imported before this module.
_PARTS = (
    "checkpoints",
    "commits",
    "damage",
    "journals",
    "keys",
    "listings",
    "machine",
    "model",
    "owned",
    "processes",
    "sharing",
    "threads",
)
pytest.register_assert_rewrite(*(f"torpor.storage.testing_{part}" for part in _PARTS))

# ruff: noqa: E402 - what is imported here must have been registered above
from torpor.storage.testing_checkpoints import CheckpointContract
from torpor.storage.testing_commits import CommitContract, ResendContract
from torpor.storage.testing_damage import DamageContract, FailureContract
from torpor.storage.testing_journals import JournalContract
from torpor.storage.testing_keys import KeyContract
from torpor.storage.testing_listings import DueContract, ListingContract, VacuumContract
from torpor.storage.testing_machine import StorageStateMachine
from torpor.storage.testing_owned import OwnedThreadContract
from torpor.storage.testing_processes import ProcessContract
from torpor.storage.testing_sharing import InstanceContract, ThreadSafetyContract
from torpor.storage.testing_threads import ThreadContract

__all__ = ["StorageContract", "StorageStateMachine"]


class StorageContract(
    CheckpointContract,
    KeyContract,
    ThreadContract,
    JournalContract,
    OwnedThreadContract,
    CommitContract,
    ResendContract,
    ListingContract,
    DueContract,
    VacuumContract,
    FailureContract,
    DamageContract,
    ThreadSafetyContract,
    InstanceContract,
    ProcessContract,
):
    """The rules of ``torpor.storage.base``, as tests.

    A subclass has a fixture ``storage``: a new, empty one for each test. It defines the hooks
    that its storage can have, and declares as False what it cannot do; the tests of that are
    then left out. All are True by default.

    - ``ordered_listing``: listings go by the code points of their keys.
    - ``second_instance``: the same place can be opened twice in one process (``opener``).
    - ``second_process``: and in another process, where it survives a kill (``opener``).
    - ``few_steps``: a batch costs few steps, not one per row.
    - ``damageable``: stored bytes can be changed from outside (``damage_record``,
      ``damage_entry``).
    - ``severable``: the place can be made unusable (``sever``).
    """
