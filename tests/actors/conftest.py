"""A runtime on the machine's clock, on a storage that misbehaves on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.actors.kit import Scripted, new_runtime
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor import Runtime
    from torpor.ref import AgentRef


@pytest.fixture
def storage() -> Iterator[FaultyStorage]:
    """Return a storage that fails on demand."""
    with MemoryStorage() as memory, FaultyStorage(memory) as storage:
        yield storage


@pytest.fixture
def runtime(storage: FaultyStorage) -> Iterator[Runtime]:
    """Return a runtime on ``storage``."""
    with new_runtime(storage) as runtime:
        yield runtime
        storage.reconnect()


@pytest.fixture
def agent(runtime: Runtime) -> AgentRef[Scripted]:
    """Return an agent that is awake."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.read)
    return agent
