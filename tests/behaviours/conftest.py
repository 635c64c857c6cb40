"""A storage in memory, a clock that the test moves, and a runtime on both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.behaviours.kit import Watch
from torpor import Runtime
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage
from torpor.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands still."""
    return ManualClock()


@pytest.fixture
def storage() -> Iterator[FaultyStorage]:
    """Return a storage in memory that counts, records and fails on demand."""
    with MemoryStorage() as inner, FaultyStorage(inner, record=True) as storage:
        yield storage


@pytest.fixture
def runtime(storage: FaultyStorage, clock: ManualClock) -> Iterator[Runtime]:
    """Return a runtime whose agents hibernate 10 s after the last message, on ``clock``.

    It asks the storage nothing by itself.
    """
    with Runtime(storage, idle_timeout=10, clock=clock, wake_interval=None) as runtime:
        yield runtime


@pytest.fixture
def watch(runtime: Runtime) -> Watch:
    """Return what happens in ``runtime``."""
    return Watch(runtime)


@pytest.fixture
def memory() -> Iterator[Runtime]:
    """Return a runtime on the machine's clock, whose agents are gone with it."""
    with Runtime("memory:") as runtime:
        yield runtime
