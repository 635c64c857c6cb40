"""The contract of a storage as one test class, put together from its parts."""

from __future__ import annotations

import pytest

# The parts that assert something. This module is the first that the package imports.
_PARTS = (
    "checkpoints",
    "commits",
    "counting",
    "damage",
    "journals",
    "keys",
    "kit",
    "listings",
    "machine",
    "model",
    "owned",
    "processes",
    "restoring",
    "sharing",
    "threads",
)
pytest.register_assert_rewrite(*(f"torpor.storage.testing.{part}" for part in _PARTS))

# ruff: noqa: E402 - what is imported here must be registered before
from torpor.storage.testing.checkpoints import CheckpointContract
from torpor.storage.testing.commits import CommitContract, ResendContract
from torpor.storage.testing.damage import DamageContract, FailureContract
from torpor.storage.testing.journals import JournalContract
from torpor.storage.testing.keys import KeyContract
from torpor.storage.testing.listings import DueContract, ListingContract, VacuumContract
from torpor.storage.testing.owned import OwnedThreadContract
from torpor.storage.testing.processes import ProcessContract
from torpor.storage.testing.restoring import RestoreContract
from torpor.storage.testing.sharing import InstanceContract, ThreadSafetyContract
from torpor.storage.testing.threads import ThreadContract

__all__ = ["StorageContract"]


class StorageContract(
    CheckpointContract,
    KeyContract,
    ThreadContract,
    JournalContract,
    OwnedThreadContract,
    CommitContract,
    ResendContract,
    RestoreContract,
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
    - ``few_steps``: a batch costs few steps, not one per row (``count_steps``).
    - ``damageable``: stored bytes can be changed from outside (``damage_record``,
      ``damage_entry``).
    - ``severable``: the place can be made unusable (``sever``).

    ``count_effort`` has a default, which may be refined.
    """
