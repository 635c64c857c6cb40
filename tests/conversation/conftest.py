"""The same tests on a storage in memory, in a file and on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conversation.kit import Script, Shop, call, calls, effects
from tests.places.fixtures import all_places, empty_place
from tests.places.registry import FEATURE_PLACES
from tests.runtime.quiet import QuietClock
from torpor import Runtime
from torpor.conversation import Conversation
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor import AgentRef
    from torpor.conversation import Interrupt
    from torpor.storage import Storage

__all__ = ["all_places", "empty_place", "storage"]


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
    """Return a runtime whose time stands still."""
    with Runtime(storage, clock=clock, idle_timeout=60) as runtime:
        clock.watch(runtime)
        yield runtime


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Return the model of ``Shop``; the test gives it replies."""
    script = Script()
    monkeypatch.setattr(Shop, "model", script)
    effects.clear()
    return script


@pytest.fixture
def ref(runtime: Runtime, model: Script) -> AgentRef[Shop]:
    """Return one clerk."""
    del model
    return runtime.get(Shop, "ada")


@pytest.fixture
def chat(ref: AgentRef[Shop]) -> Conversation[Shop]:
    """Return a conversation with the clerk."""
    return Conversation(ref)


@pytest.fixture
def waiting(chat: Conversation[Shop], model: Script) -> Interrupt:
    """Let the clerk ask for a refund's approval."""
    model.replies.append(calls(call("refund", order=7)))
    [interrupt] = chat.say("refund order 7").interrupts
    return interrupt
