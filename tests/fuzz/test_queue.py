"""Damaged topics, consumers and events; and cursors that nobody was given."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import ANYTHING, WORDS, changed, junk, mutated, text_of
from tests.fuzz.kit import quiet, tampered
from tests.fuzz.test_agents import Counter, calm
from torpor import Runtime
from torpor.outbox import Outgoing
from torpor.queue import EventQueue, Retention, Start
from torpor.queue.cursor import cursor_of, seq_of
from torpor.queue.outgoing import TopicDeliverer
from torpor.queue.sources import MAX_SOURCES
from torpor.storage import Change, Put
from torpor.storage.errors import InvalidCursorError, TorporError
from torpor.storage.memory import MemoryStorage
from torpor.testing import ManualClock

if TYPE_CHECKING:
    from torpor.storage import Storage

TOPIC, CONSUMER = "topic:t", "consumer:t/c"
SOURCES = {"$agent x": (1, 1), **{f"s{number}": (number, 0) for number in range(MAX_SOURCES)}}
STATE = {
    "sources": {"s": [3, 2], "$agent l1 counter/a": [4, 1], "$agent ": [1, 1], "$agent l": [1, 0]},
    "retention": {"max_age": 5.0, "max_events": 2, "discard_after": 9.0},
    "deleted": False,
}


def opened(storage: Storage) -> EventQueue:
    """Return a queue that does nothing by itself."""
    return EventQueue(storage, clock=ManualClock(), cleanup_interval=None)


def filled(queue: EventQueue) -> None:
    """Publish some events, and acknowledge one of them."""
    for number in range(3):
        queue.publish("t", {"n": number}, kind="event", source="s", number=number + 1)
    queue.ack("c", "t", cursor_of(0))


def use(queue: EventQueue) -> None:
    """Do with the topic all that can be done with one."""
    retention = Retention(max_age=0.0, drop_consumers_after=0.0)
    for do in (
        lambda: [event.seq for event in queue.recover("t")],
        lambda: queue.recover("t", cursor_of(1), limit=1),
        lambda: _get(queue, Start.EARLIEST, None),
        lambda: _get(queue, Start.LATEST, "c"),
        lambda: queue.get_cursor("c", "t"),
        lambda: queue.unread("c", "t"),
        lambda: queue.consumers("t"),
        queue.topics,
        lambda: queue.newest("t"),
        lambda: queue.publish("t", "new", source="s", number=9),
        lambda: queue.ack("c", "t", cursor_of(2)),
        queue.cleanup,
        lambda: queue.configure("t", retention),
        queue.cleanup,
        lambda: queue.remove_consumer("c", "t"),
        lambda: queue.delete_topic("t"),
    ):
        with suppress(TorporError):
            do()
    quiet()


def _get(queue: EventQueue, start: Start, consumer: str | None) -> None:
    with queue.subscribe("t", after=start, consumer=consumer) as subscription:
        for _ in range(3):
            subscription.get(0.0)


def states(sound: Any) -> st.SearchStrategy[str]:
    """Return what may stand in place of a state."""
    return st.one_of(
        changed(sound).map(text_of),
        mutated(text_of(sound).encode()).map(lambda data: data.decode("utf-8", "replace")),
        junk.map(lambda data: data.decode("utf-8", "replace")),
    )


@given(
    state=states(STATE) | st.just(text_of({**STATE, "sources": {**SOURCES, "$agent x": (1, 1)}}))
)
def test_topic(state: str) -> None:
    """Whatever a topic's record says: events, or typed errors (W-10)."""
    with MemoryStorage() as storage, opened(storage) as queue:
        filled(queue)
        tampered(storage, TOPIC, state)
        before = storage.get_checkpoint(TOPIC)
        try:
            queue.recover("t")
        except TorporError:
            assert storage.get_checkpoint(TOPIC) == before
        use(queue)


@given(state=states({"acknowledged": 1}))
def test_consumer(state: str) -> None:
    """Whatever a consumer's record says: a place in the topic, or typed errors."""
    with MemoryStorage() as storage, opened(storage) as queue:
        filled(queue)
        tampered(storage, CONSUMER, state)
        use(queue)


@given(cursor=st.text(max_size=14) | mutated(b"00000001-0002").map(lambda c: c.decode("latin-1")))
def test_cursor(cursor: str) -> None:
    """A cursor that was kept elsewhere: that of an event, or a typed error."""
    with suppress(InvalidCursorError):
        assert cursor_of(seq_of(cursor)) == cursor


PAYLOAD = {"payload": {"n": 1}, "kind": "event"}


@given(payload=changed(PAYLOAD) | ANYTHING, topic=st.sampled_from([*WORDS, "t"]))
def test_event_from_an_outbox(payload: Any, topic: str) -> None:
    """What waits in an outbox and is no event comes back with its error; others are published."""
    told: dict[int, BaseException | None] = {}
    with MemoryStorage() as storage, calm(), Runtime(storage, wake_interval=None) as runtime:
        runtime.get(Counter, "a").ask(Counter.add)
        outgoing = [
            Outgoing(
                sender="counter/a", life="l", seq=1, target=f"topic:{topic}", payload=payload, at=1
            ),
            Outgoing(
                sender="counter/a", life="l", seq=2, target=f"topic:{topic}", payload=PAYLOAD, at=1
            ),
        ]
        deliverer = TopicDeliverer(runtime.manager)
        for message in outgoing:
            deliverer.deliver([message], lambda done, error: told.update({done.seq: error}))
        runtime.stop()
    assert told.keys() == {1, 2}


@given(value=ANYTHING)
def test_foreign_record(value: Any) -> None:
    """A record of another kind in a topic's place is no topic."""
    with MemoryStorage() as storage, opened(storage) as queue:
        for key in (TOPIC, CONSUMER):
            storage.commit([Change(key=key, put=Put(data=text_of(value), kind="other"))])
        use(queue)
        found = storage.get_checkpoint(TOPIC)
        assert found is not None
        assert found.data == text_of(value)


def test_sound_state_is_taken() -> None:
    """The fuzzing above begins with something that is taken."""
    with MemoryStorage() as storage, opened(storage) as queue:
        filled(queue)
        tampered(storage, TOPIC, json.dumps(STATE))
        assert len(queue.recover("t")) == 3
