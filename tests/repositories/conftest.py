"""Repositories on each of the storages that they are tested with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.places.fixtures import all_places, empty_place
from tests.places.registry import FEATURE_PLACES
from torpor.repositories import Repositories
from torpor.storage import open_storage
from torpor.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torpor.storage import Storage

__all__ = ["all_places", "empty_place"]


@pytest.fixture(params=FEATURE_PLACES)
def storage(request: pytest.FixtureRequest, empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return an empty storage of each kind in turn."""
    with open_storage(empty_place(request.param)) as storage:
        yield storage


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that the test moves."""
    return ManualClock()


@pytest.fixture
def repositories(storage: Storage, clock: ManualClock, tmp_path: Path) -> Repositories:
    """Return all repositories on the storage."""
    return Repositories(storage, home=tmp_path / "home", clock=clock)
