"""A runtime on each of the storages, whose time stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.places.fixtures import all_places, empty_place
from tests.places.registry import FEATURE_PLACES
from tests.runtime.quiet import QuietClock
from torpor import Runtime
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
def clock() -> QuietClock:
    """Return a clock that stands still."""
    return QuietClock()


@pytest.fixture
def runtime(storage: Storage, clock: QuietClock) -> Iterator[Runtime]:
    """Return a runtime on that clock."""
    with Runtime(storage, clock=clock) as runtime:
        clock.watch(runtime)
        yield runtime
