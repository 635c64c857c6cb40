"""Subscribing: what is delivered, to whom, and that nobody suffers from others."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.queue.kit import PATIENCE, Listener, payloads, take, wait_until
from torpor import ConfigurationError, InvalidCursorError
from torpor.queue import EventQueue, Start
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from torpor.queue import Event
    from torpor.storage import Storage


def test_only_what_is_published_afterwards(queue: EventQueue) -> None:
    """Every subscriber gets later events of its topic, in order, until it leaves (EQ-3)."""
    queue.publish("a", "before")
    one, two = queue.subscribe("a"), queue.subscribe("a")
    listener = Listener()
    called = queue.subscribe("a", listener)
    for n in range(5):
        queue.publish("a", n)
        queue.publish("b", n)
    assert take(one, 5) == take(two, 5) == listener.wait_for(5) == list(range(5))
    for subscription in (one, called):
        subscription.close()
    queue.publish("a", "after")
    assert take(two, 1) == ["after"]
    assert one.get(0) is None
    assert len(listener.events) == 5


@pytest.mark.parametrize(
    ("after", "expected"),
    [(Start.EARLIEST, [0, 1, 2]), (Start.LATEST, []), ("second", [2])],
    ids=["earliest", "latest", "cursor"],
)
def test_where_delivery_begins(queue: EventQueue, after: Start | str, expected: list[int]) -> None:
    """A subscriber begins with everything, with what is new, or behind a cursor (EQ-11)."""
    cursors = [queue.publish("a", n) for n in range(3)]
    begin = after if isinstance(after, Start) else cursors[1]
    subscription = queue.subscribe("a", after=begin)
    queue.publish("a", 3)
    assert take(subscription, len(expected) + 1) == [*expected, 3]


def test_an_unknown_topic_can_be_subscribed_to(queue: EventQueue) -> None:
    """A topic need not exist yet, and asking for it makes none (EQ-11)."""
    subscription = queue.subscribe("nobody")
    assert queue.recover("nobody").items == ()
    assert queue.topics() == []
    queue.publish("nobody", 1)
    assert take(subscription, 1) == [1]


def test_a_cursor_of_the_future_is_refused(queue: EventQueue) -> None:
    """A cursor that the topic has not reached is no silent wait for it (W-27)."""
    cursor = queue.publish("longer", 1)
    with pytest.raises(InvalidCursorError):
        queue.subscribe("a", after=cursor)
    with pytest.raises(InvalidCursorError):
        queue.recover("a", cursor)


def test_a_failing_subscriber_harms_nobody(
    queue: EventQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """What a callback raises is logged; it and the others get the next event (EQ-4)."""
    seen, healthy = Listener(), Listener()

    def fail(event: Event) -> None:
        seen(event)
        raise ValueError(event.payload)

    queue.subscribe("a", fail)
    queue.subscribe("a", healthy)
    with caplog.at_level(logging.ERROR, "torpor"):
        queue.publish("a", 1)
        queue.publish("a", 2)
        assert seen.wait_for(2) == healthy.wait_for(2) == [1, 2]
        queue.close()
    assert len([r for r in caplog.records if r.exc_info]) == 2


def test_a_slow_subscriber_holds_up_nobody_and_loses_nothing(queue: EventQueue) -> None:
    """Far more events than the buffer holds: the fast have all, the slow gets all (EQ-11)."""
    slow, fast = Listener(), Listener()
    go_on = threading.Event()

    def wait(event: Event) -> None:
        assert go_on.wait(PATIENCE)
        slow(event)

    subscription = queue.subscribe("a", wait, buffer=8)
    queue.subscribe("a", fast, buffer=8)
    for begin in range(0, 200, 10):
        queue.publish_all("a", list(range(begin, begin + 10)))
    assert fast.wait_for(200) == list(range(200))
    assert slow.events == []
    assert len(subscription._buffer) <= 8  # pyright: ignore[reportPrivateUsage]
    go_on.set()
    assert slow.wait_for(200) == list(range(200))


def test_fifty_subscribers_and_a_burst() -> None:
    """50 subscribers each get a burst of 1000 events, in order (EQ-11)."""
    with MemoryStorage() as storage, EventQueue(storage) as queue:
        subscriptions = [queue.subscribe("a", buffer=64) for _ in range(50)]
        for n in range(1000):
            queue.publish("a", n)
        assert all(take(s, 1000) == list(range(1000)) for s in subscriptions)


def test_a_failing_durable_consumer_gets_its_event_again(queue: EventQueue) -> None:
    """An event is acknowledged once its handler has succeeded, not before (EQ-11, W-29)."""
    listener = Listener()
    tries: list[int] = []

    def second_time(event: Event) -> None:
        tries.append(event.payload)
        if len(tries) == 1:
            raise ConnectionError
        listener(event)

    queue.subscribe("a", second_time, consumer="mailer")
    queue.publish("a", 1)
    queue.publish("a", 2)
    assert listener.wait_for(2) == [1, 2]
    assert tries == [1, 1, 2]
    queue.close()
    with EventQueue(queue.storage) as later:
        assert later.unread("mailer", "a") == 0


def test_durable_consumers_go_on_where_they_were(storage: Storage) -> None:
    """Unacknowledged events come again, acknowledged ones do not (EQ-7, EQ-11)."""
    with EventQueue(storage) as queue:
        subscription = queue.subscribe("a", consumer="c")
        queue.publish_all("a", [1, 2, 3, 4])
        assert take(subscription, 2) == [1, 2]
        subscription.ack(queue.recover("a").items[0])
    with EventQueue(storage) as queue:
        assert queue.unread("c", "a") == 3
        assert take(queue.subscribe("a", consumer="c"), 3) == [2, 3, 4]


def test_rapid_reconnects_deliver_once(storage: Storage) -> None:
    """Five reconnects of a consumer that acknowledges: each event once (EQ-11)."""
    taken: list[object] = []
    for round_ in range(5):
        with EventQueue(storage) as queue:
            subscription = queue.subscribe("a", consumer="c", after=Start.EARLIEST)
            queue.publish_all("a", [f"{round_} {n}" for n in range(4)])
            for _ in range(3):
                event = subscription.get(PATIENCE)
                assert event is not None
                taken.append(event.payload)
                subscription.ack(event)
    with EventQueue(storage) as queue:
        taken += take(queue.subscribe("a", consumer="c"), 5)
        assert taken == payloads(queue.recover("a"))


def test_only_a_consumer_acknowledges(queue: EventQueue) -> None:
    """A subscription without a consumer has nothing to acknowledge, and says so."""
    subscription = queue.subscribe("a")
    with pytest.raises(ConfigurationError, match="consumer"):
        subscription.ack(queue.publish("a", 1))


def test_async_iteration(queue: EventQueue) -> None:
    """An event loop is not held up while a subscription waits, reads or is cancelled (EQ-3)."""

    async def main() -> list[object]:
        taken: list[object] = []
        queue.publish("a", 0)
        subscription = await queue.asubscribe("a", after=Start.EARLIEST, consumer="c", buffer=2)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                async for event in subscription:
                    taken.append(event.payload)  # noqa: PERF401 - kept when the time is over
        for n in range(1, 6):
            await queue.apublish("a", n)
        async with asyncio.timeout(PATIENCE):
            async for event in subscription:
                taken.append(event.payload)
                await subscription.aack(event)
                if len(taken) == 6:
                    subscription.close()
        return taken

    assert asyncio.run(main()) == list(range(6))
    assert queue.unread("c", "a") == 0


def test_what_another_queue_publishes_is_heard(storage: Storage) -> None:
    """Subscribers hear of events of other processes, by looking or by being told."""
    with EventQueue(storage, poll_interval=0.01) as here, EventQueue(storage) as there:
        subscription, listener = here.subscribe("a"), Listener()
        here.subscribe("a", listener)
        for n in range(20):
            there.publish("a", n)
        assert take(subscription, 20) == listener.wait_for(20) == list(range(20))


def test_a_storage_that_is_away_for_a_while_ends_nothing() -> None:
    """The watching goes on after errors, and so does a callback's subscription."""
    inner = MemoryStorage()
    faulty = FaultyStorage(inner)
    with EventQueue(faulty, poll_interval=0.01) as here, EventQueue(inner) as there:
        listener = Listener()
        here.subscribe("a", listener, buffer=1)
        faulty.fail_next("read", times=5)
        there.publish_all("a", [1, 2, 3])
        assert listener.wait_for(3) == [1, 2, 3]


def test_a_store_that_was_set_back_ends_a_callback(caplog: pytest.LogCaptureFixture) -> None:
    """Events that a subscriber has had are no longer there: it ends, and the log says so."""
    with MemoryStorage() as storage, EventQueue(storage, poll_interval=0.01) as queue:
        listener = Listener()
        queue.publish_all("a", [1, 2, 3])
        subscription = queue.subscribe("a", listener)
        storage.delete_checkpoint("topic:a")
        with EventQueue(storage) as other, caplog.at_level(logging.ERROR, "torpor"):
            other.publish("a", 1)
            subscription.announce(5)
            wait_until(lambda: subscription.closed)
        assert "ends" in caplog.text
