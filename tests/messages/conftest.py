"""A store of each kind, and runtimes on it whose time stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.kit import running
from tests.messages.kit import Receiver
from tests.places.fixtures import all_places, empty_place
from tests.places.registry import FEATURE_PLACES
from tests.runtime.kit import Watch
from tests.runtime.quiet import QuietClock
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor import Runtime
    from torpor.storage import Storage

__all__ = ["all_places", "empty_place"]


@pytest.fixture(autouse=True)
def _nobody_is_broken() -> None:
    """Undo what a test before made receivers fail at."""
    Receiver.broken.clear()


@pytest.fixture(params=FEATURE_PLACES)
def storage(request: pytest.FixtureRequest, empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return a storage of each kind in turn."""
    with open_storage(empty_place(request.param)) as storage:
        yield storage


@pytest.fixture
def memory(empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return a storage in memory, for what no storage makes different."""
    with open_storage(empty_place("memory")) as storage:
        yield storage


@pytest.fixture
def clock() -> QuietClock:
    """Return a clock that stands still."""
    return QuietClock()


@pytest.fixture
def runtime(storage: Storage, clock: QuietClock) -> Iterator[Runtime]:
    """Return a runtime on each kind of storage."""
    with running(storage, clock=clock, idle_timeout=60) as runtime:
        clock.watch(runtime)
        yield runtime


@pytest.fixture
def watch(runtime: Runtime) -> Watch:
    """Return what happens in ``runtime``."""
    return Watch(runtime)
