"""Runtimes on storages that misbehave on demand, on a clock that the test moves."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import ObservedClock, Scripted, Watch, stored_agent
from torpor import Runtime
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torpor.ref import AgentRef
    from torpor.storage import Storage


@pytest.fixture
def clock() -> ObservedClock:
    """Return a clock that stands still."""
    return ObservedClock()


@pytest.fixture
def memory() -> Iterator[MemoryStorage]:
    """Return a storage that never fails."""
    with MemoryStorage() as storage:
        yield storage


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SQLiteStorage]:
    """Return a storage in a file."""
    with SQLiteStorage(tmp_path / "agents.db") as storage:
        yield storage


@pytest.fixture(params=["memory", "sqlite"])
def any_storage(request: pytest.FixtureRequest) -> Storage:
    """Return a storage of each kind in turn."""
    storage: Storage = request.getfixturevalue(request.param)
    return storage


@pytest.fixture
def storage(memory: MemoryStorage) -> Iterator[FaultyStorage]:
    """Return a storage that counts, records and fails on demand."""
    with FaultyStorage(memory, record=True) as storage:
        yield storage


@pytest.fixture
def runtime(storage: FaultyStorage, clock: ObservedClock) -> Iterator[Runtime]:
    """Return a runtime on ``storage`` whose time stands still, and that asks it nothing itself."""
    with Runtime(storage, clock=clock, idle_timeout=60, wake_interval=None) as runtime:
        yield runtime


@pytest.fixture
def ticking(storage: FaultyStorage) -> Iterator[Runtime]:
    """Return a runtime on ``storage`` whose time passes: for retries, at their real pace."""
    with Runtime(storage) as runtime:
        yield runtime


@pytest.fixture
def watch(runtime: Runtime) -> Watch:
    """Return what happens in ``runtime``."""
    return Watch(runtime)


@pytest.fixture
def other(memory: MemoryStorage) -> Iterator[Runtime]:
    """Return the runtime of another process on the same storage."""
    with Runtime(memory) as runtime:
        yield runtime


@pytest.fixture
def agent(ticking: Runtime) -> AgentRef[Scripted]:
    """Return an agent that is awake and stored."""
    return stored_agent(ticking)


@pytest.fixture
def receiver(runtime: Runtime) -> AgentRef[Scripted]:
    """Return another agent that is awake."""
    receiver = runtime.get(Scripted, "receiver")
    receiver.ask(Scripted.read)
    return receiver
