"""A queue on each of the storages that the queue is tested with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.places.fixtures import all_places, empty_place
from tests.places.registry import FEATURE_PLACES
from torpor.queue import EventQueue
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage

__all__ = ["all_places", "empty_place"]


@pytest.fixture(params=FEATURE_PLACES)
def storage(request: pytest.FixtureRequest, empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return an empty storage of each kind in turn."""
    with open_storage(empty_place(request.param)) as storage:
        yield storage


@pytest.fixture
def queue(storage: Storage) -> Iterator[EventQueue]:
    """Return a queue on it."""
    with EventQueue(storage) as queue:
        yield queue
