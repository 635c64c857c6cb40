"""Runtimes on storages that misbehave on demand; none of them can hang a test at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.kit import LifeClock, Rests, Watch, heal, running
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor import Runtime


@pytest.fixture
def clock() -> LifeClock:
    """Return a clock that stands still."""
    return LifeClock()


@pytest.fixture
def memory() -> Iterator[MemoryStorage]:
    """Return a storage that never fails."""
    with MemoryStorage() as storage:
        yield storage


@pytest.fixture
def storage(memory: MemoryStorage) -> Iterator[FaultyStorage]:
    """Return a storage that counts, records and fails on demand."""
    with FaultyStorage(memory, record=True) as storage:
        yield storage
        heal(storage)


@pytest.fixture
def runtime(storage: FaultyStorage, clock: LifeClock) -> Iterator[Runtime]:
    """Return a runtime on ``storage`` whose time stands still, and that asks it nothing itself."""
    with running(storage, clock=clock, idle_timeout=60, wake_interval=None) as runtime:
        yield runtime


@pytest.fixture
def ticking(storage: FaultyStorage) -> Iterator[Runtime]:
    """Return a runtime on ``storage`` whose time passes."""
    with running(storage, timeout=10) as runtime:
        yield runtime


@pytest.fixture
def watch(runtime: Runtime) -> Watch:
    """Return what happens in ``runtime``."""
    return Watch(runtime)


@pytest.fixture
def rests(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Rests:
    """Return who tells when agents of ``runtime`` come to rest."""
    return Rests(runtime, monkeypatch)
