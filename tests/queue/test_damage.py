"""Topics and outboxes in which something is stored that cannot be: what fuzzing found."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.kit import tampered
from tests.runtime.kit import Watch, eventually
from torpor import Agent, Runtime
from torpor.events import MessageFailed
from torpor.outbox import put
from torpor.queue import EventQueue
from torpor.queue.sources import MAX_SOURCES
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator


class Careless(Agent):
    """Puts into its outbox what it likes."""

    def put(self, target: str, payload: Any) -> None:
        """Put it."""
        put(target, payload)


@pytest.fixture
def memory() -> Iterator[MemoryStorage]:
    """Return a storage that never fails."""
    with MemoryStorage() as storage:
        yield storage


def test_mark_of_no_agent(memory: MemoryStorage) -> None:
    """A source that only begins as agents' do is pruned like any other."""
    with EventQueue(memory, cleanup_interval=None) as queue:
        queue.publish("t", 1)
        sources = {"$agent x": (1, 0), **{f"s{number}": (1, 0) for number in range(MAX_SOURCES)}}
        tampered(memory, "topic:t", json.dumps({"sources": sources}))

        assert queue.publish("t", 2, source="new", number=1) == queue.newest("t")


@pytest.mark.parametrize(
    "payload", [None, 7, [], {}, {"payload": 1}, {"kind": "e"}, {"payload": 1, "kind": 7}], ids=str
)
def test_message_that_is_no_event(memory: MemoryStorage, payload: Any) -> None:
    """It comes back with its error, and lets no event of another topic wait."""
    with Runtime(memory, wake_interval=None) as runtime:
        watch = Watch(runtime)
        agent = runtime.get(Careless, "a")
        agent.ask(Careless.put, "topic:t", payload)
        agent.ask(Careless.put, "topic:other", {"payload": 1, "kind": "e"})
        [failed, *_] = watch.wait(MessageFailed)
        with EventQueue(memory, cleanup_interval=None) as queue:
            eventually(lambda: len(queue.recover("other")) == 1)
            assert len(queue.recover("t")) == 0

    assert failed.target == "topic:t"
    assert failed.failures == 1
