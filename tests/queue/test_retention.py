"""Retention: what goes, what stays for whom, and that a gap is visible."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.queue.kit import Listener, payloads, take, wait_until
from torpor import EventGapError, OwnedThreadError
from torpor.queue import EventQueue, Retention, Start
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage
from torpor.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage import Storage

HOUR = 3600.0


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that the test moves."""
    return ManualClock()


@pytest.fixture
def queue(storage: Storage, clock: ManualClock) -> Iterator[EventQueue]:
    """Return a queue with that clock, which cleans up only when it is told to."""
    with EventQueue(storage, clock=clock, cleanup_interval=None) as queue:
        yield queue


def hourly(queue: EventQueue, clock: ManualClock, count: int) -> list[str]:
    """Publish numbers an hour apart, and let an hour pass behind the last one."""
    cursors: list[str] = []
    for n in range(count):
        cursors.append(queue.publish("a", n))
        clock.advance(HOUR)
    return cursors


def test_events_are_kept_for_a_day(queue: EventQueue, clock: ManualClock) -> None:
    """By default what is older than a day goes at a clean-up, and not before (EQ-8)."""
    hourly(queue, clock, 30)
    assert len(queue.recover("a")) == 30
    assert queue.cleanup() == 7  # published 30 to 24 hours ago
    assert payloads(queue.recover("a")) == list(range(7, 30))
    assert queue.cleanup() == 0


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(max_age=None), 10),
        (Retention(max_age=5 * HOUR), 4),
        (Retention(max_age=None, max_events=3), 3),
        (Retention(max_age=5 * HOUR, max_events=3), 3),
        (Retention(max_age=5 * HOUR, max_events=8), 4),
        (Retention(max_age=0), 0),
        (Retention(max_events=0), 0),
    ],
    ids=["none", "age", "count", "count first", "age first", "no age", "no events"],
)
def test_limits(queue: EventQueue, clock: ManualClock, retention: Retention, kept: int) -> None:
    """Age and count both limit what is kept; cursors go on as before (EQ-8, W-27)."""
    queue.configure("a", retention)
    cursors = hourly(queue, clock, 10)
    assert queue.cleanup("a") == 10 - kept
    assert payloads(queue.recover("a")) == list(range(10 - kept, 10))
    assert queue.publish("a", "next") > cursors[-1]


def test_a_topic_keeps_its_own_retention(storage: Storage, clock: ManualClock) -> None:
    """What ``configure`` says holds for every process, until it is taken back."""
    with EventQueue(storage, clock=clock) as queue:
        queue.configure("a", Retention(max_age=None, max_events=1))
        queue.publish_all("a", [1, 2, 3])
    with EventQueue(storage, clock=clock) as queue:
        assert queue.cleanup() == 2
        queue.configure("a", None)
        queue.publish_all("a", [4, 5])
        assert queue.cleanup() == 0


def test_all_consumers_have_to_be_done(queue: EventQueue, clock: ManualClock) -> None:
    """Entries go once all consumers have acknowledged them; not while one has not (EQ-11)."""
    queue.configure("a", Retention(max_age=0))
    cursors = hourly(queue, clock, 4)
    queue.ack("fast", "a", cursors[3])
    queue.ack("slow", "a", cursors[1])
    assert queue.cleanup() == 2
    assert payloads(queue.recover("a", queue.get_cursor("slow", "a"))) == [2, 3]
    queue.ack("slow", "a", cursors[3])
    assert queue.cleanup() == 2


def test_a_registered_consumer_has_its_events_kept(queue: EventQueue, clock: ManualClock) -> None:
    """A durable subscriber that has acknowledged nothing yet loses nothing either (EQ-11)."""
    queue.subscribe("a", consumer="c").close()
    hourly(queue, clock, 30)
    clock.advance(1000 * HOUR)
    assert queue.cleanup() == 0
    assert take(queue.subscribe("a", consumer="c"), 30) == list(range(30))


def test_discarding_has_to_be_asked_for(queue: EventQueue, clock: ManualClock) -> None:
    """With ``discard_after`` even unacknowledged events go; who wanted them is told (EQ-11)."""
    queue.configure("a", Retention(max_age=HOUR, discard_after=4.5 * HOUR))
    queue.subscribe("a", consumer="c").close()
    hourly(queue, clock, 10)
    assert queue.cleanup() == 6
    subscription = queue.subscribe("a", consumer="c")
    with pytest.raises(EventGapError) as raised:
        subscription.get(0)
    assert (raised.value.topic, raised.value.missed) == ("a", 6)
    subscription.seek(raised.value.resume)
    assert take(subscription, 4) == [6, 7, 8, 9]


def test_consumers_that_left_are_dropped(queue: EventQueue, clock: ManualClock) -> None:
    """A consumer that left an event undone for a day is removed, with what it held (EQ-11)."""
    queue.configure("a", Retention(max_age=HOUR, drop_consumers_after=24 * HOUR))
    cursors = hourly(queue, clock, 2)
    for name, cursor in (("gone", cursors[0]), ("alive", cursors[0]), ("done", cursors[1])):
        queue.ack(name, "a", cursor)
    clock.advance(20 * HOUR)
    assert queue.cleanup() == 1
    queue.ack("alive", "a", cursors[1])
    clock.advance(20 * HOUR)
    assert queue.cleanup() == 1
    assert [consumer.name for consumer in queue.consumers("a")] == ["alive", "done"]


def test_a_quiet_topic_drops_nobody(queue: EventQueue, clock: ManualClock) -> None:
    """Who has acknowledged everything is waiting, not gone, however long that takes."""
    queue.configure("a", Retention(drop_consumers_after=24 * HOUR))
    queue.ack("c", "a", queue.publish("a", 1))
    clock.advance(1000 * HOUR)
    queue.publish("a", 2)
    queue.cleanup()
    assert queue.unread("c", "a") == 1


def test_a_gap_is_visible_everywhere(queue: EventQueue, clock: ManualClock) -> None:
    """Whoever reads behind a cursor whose followers are gone gets a typed error (W-27)."""
    cursors = hourly(queue, clock, 5)
    subscription = queue.subscribe("a", after=cursors[0], buffer=1)
    queue.configure("a", Retention(max_age=None, max_events=1))
    queue.cleanup()
    readers: list[Any] = [
        lambda: queue.recover("a", cursors[0]),
        lambda: queue.subscribe("a", after=cursors[0]),
        lambda: subscription.get(0),
        lambda: next(subscription),
    ]
    for read in readers:
        with pytest.raises(EventGapError) as raised:
            read()
        assert raised.value.missed == 3
        assert raised.value.resume == cursors[3]
    assert payloads(queue.recover("a", cursors[3])) == [4]
    assert payloads(queue.recover("a")) == [4]


def test_a_callback_ends_at_a_gap(
    queue: EventQueue, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Without ``on_gap`` the subscription ends and the log says why (W-27)."""
    subscription = _behind_a_gap(queue, clock)
    with caplog.at_level(logging.ERROR, "torpor"):
        listener = Listener()
        called = queue.subscribe("a", listener, consumer=subscription)
        wait_until(lambda: called.closed)
    assert "3 events are gone" in caplog.text
    assert listener.events == []


def test_a_callback_may_go_on_behind_a_gap(queue: EventQueue, clock: ManualClock) -> None:
    """``on_gap`` is told what is missing, and the subscription goes on behind it (W-27)."""
    consumer = _behind_a_gap(queue, clock)
    gaps: list[EventGapError] = []
    listener = Listener()
    queue.subscribe("a", listener, consumer=consumer, on_gap=gaps.append)
    assert listener.wait_for(1) == [3]
    assert [gap.missed for gap in gaps] == [3]


def _behind_a_gap(queue: EventQueue, clock: ManualClock) -> str:
    """Return the name of a consumer that three events are gone for, and one is there."""
    queue.configure("a", Retention(max_age=0, discard_after=1.5 * HOUR))
    queue.subscribe("a", consumer="c").close()
    hourly(queue, clock, 4)
    assert queue.cleanup() == 3
    return "c"


def test_deleted_topics_never_reuse_a_cursor(queue: EventQueue) -> None:
    """Events and consumers go; if the topic is used again its cursors go on."""
    cursors = queue.publish_all("a", [1, 2])
    queue.ack("c", "a", cursors[0])
    queue.delete_topic("a")
    queue.delete_topic("a")
    assert queue.topics() == []
    assert queue.recover("a").items == ()
    assert queue.get_cursor("c", "a") is None
    assert queue.publish("a", 3) > cursors[1]
    assert queue.topics() == ["a"]
    with pytest.raises(EventGapError):
        queue.recover("a", cursors[0])


def test_clean_up_by_itself(storage: Storage, clock: ManualClock) -> None:
    """Every ``cleanup_interval`` what is used is cleaned up, without being told (EQ-8)."""
    retention = Retention(max_age=HOUR)
    with EventQueue(storage, retention=retention, clock=clock, cleanup_interval=300) as queue:
        queue.publish("a", 1)
        clock.advance(HOUR)
        clock.advance(1)
        queue.publish("a", 2)
        assert payloads(queue.recover("a")) == [2]


def test_a_clean_up_that_fails_is_logged(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again later and disturbs no publisher (EQ-8)."""
    faulty = FaultyStorage(MemoryStorage())
    retention = Retention(max_age=0)
    with EventQueue(faulty, retention=retention, clock=clock, cleanup_interval=300) as queue:
        queue.publish("a", 1)
        clock.advance(301)
        faulty.fail_next("list", times=1, error=OSError("no listing"))
        with caplog.at_level(logging.WARNING, "torpor"):
            queue.publish("a", 2)
        assert "cannot clean up" in caplog.text
        assert len(queue.recover("a")) == 2
        clock.advance(301)
        queue.publish("a", 3)
        assert payloads(queue.recover("a")) == []


def test_cleaning_up_costs_no_scan(clock: ManualClock) -> None:
    """What goes is found by a few point reads, not by reading the topic."""
    storage = FaultyStorage(MemoryStorage())
    with EventQueue(storage, clock=clock, cleanup_interval=None) as queue:
        for _ in range(4):
            queue.publish_all("a", list(range(1000)))
            clock.advance(12 * HOUR)
        before = sum(storage.calls.values())
        assert queue.cleanup("a") == 3000
        assert sum(storage.calls.values()) - before < 30


def test_nobody_appends_behind_the_queues_back(queue: EventQueue) -> None:
    """A topic's thread is owned by its record: only publishing writes to it."""
    queue.publish("a", 1)
    stored = queue.storage.get_checkpoint("topic:a")
    assert stored is not None
    assert stored.thread is not None
    with pytest.raises(OwnedThreadError):
        queue.storage.append_thread(stored.thread.id, {"kind": "event"})


def test_reading_while_it_is_cleaned_up(queue: EventQueue, clock: ManualClock) -> None:
    """Events that go between two readings are a gap or not there, never damage."""
    queue.configure("a", Retention(max_age=None, max_events=2))
    subscription = queue.subscribe("a", after=Start.EARLIEST, buffer=1)
    hourly(queue, clock, 6)
    original = queue.storage.read_entries
    cleaned: list[int] = []

    def clean_first(*arguments: Any, **options: Any) -> Any:
        if not cleaned:
            cleaned.append(0)
            cleaned.append(queue.cleanup("a"))
        return original(*arguments, **options)

    queue.storage.read_entries = clean_first  # type: ignore[method-assign]
    assert take(subscription, 1) == [0]  # in the buffer since it was published
    with pytest.raises(EventGapError):
        subscription.get(0)
    assert cleaned == [0, 4]
