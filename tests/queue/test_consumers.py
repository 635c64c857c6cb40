"""Durable consumers: what they acknowledge, what they recover, what they have unread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.queue.kit import payloads, take
from torpor import InvalidCursorError, StorageError
from torpor.queue import EventQueue, Start
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from torpor.storage import Storage


def test_consumers_are_independent(queue: EventQueue) -> None:
    """Each consumer has a cursor of its own in each topic, none at first (EQ-5)."""
    a = [queue.publish("a", n) for n in range(3)]
    b = queue.publish("b", 0)
    queue.ack("one", "a", a[0])
    queue.ack("two", "a", a[2])
    queue.ack("one", "b", b)
    assert [queue.get_cursor("one", "a"), queue.get_cursor("two", "a")] == [a[0], a[2]]
    assert queue.get_cursor("one", "b") == b
    assert queue.get_cursor("two", "b") is None
    assert [consumer.name for consumer in queue.consumers("a")] == ["one", "two"]


def test_names_never_collide(queue: EventQueue) -> None:
    """A slash or percent sign in a topic's or a consumer's name makes no two of them one."""
    pairs = [("a", "b/c"), ("a/b", "c"), ("a%2Fb", "c"), ("a", "b"), ("A", "b")]
    for n, (topic, consumer) in enumerate(pairs):
        cursors = [queue.publish(topic, i) for i in range(len(pairs))]
        queue.ack(consumer, topic, cursors[n])
    assert [queue.unread(consumer, topic) for topic, consumer in pairs] != [0] * len(pairs)
    for n, (topic, consumer) in enumerate(pairs):
        cursor = queue.get_cursor(consumer, topic)
        assert cursor is not None
        [event] = [event for event in queue.recover(topic) if event.cursor == cursor]
        assert event.payload == n
    assert [c.name for c in queue.consumers("a")] == ["b", "b/c"]


def test_ack_never_goes_back(queue: EventQueue) -> None:
    """An older acknowledgement that comes late changes nothing, and says where it is (W-27)."""
    cursors = [queue.publish("a", n) for n in range(3)]
    assert queue.ack("c", "a", cursors[2]) == cursors[2]
    assert queue.ack("c", "a", cursors[0]) == cursors[2]
    assert queue.get_cursor("c", "a") == cursors[2]


def test_acknowledgements_at_once_keep_the_greatest(storage: Storage) -> None:
    """Threads of two queues acknowledge in any order: the greatest cursor stays (W-27)."""
    with EventQueue(storage) as one, EventQueue(storage) as two:
        cursors = one.publish_all("a", list(range(24)))

        def acknowledge(queue: EventQueue, mine: list[str]) -> None:
            for cursor in mine:
                queue.ack("c", "a", cursor)

        threads = [
            threading.Thread(target=acknowledge, args=(queue, cursors[begin::4]))
            for begin, queue in enumerate((one, two, one, two))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.get_cursor("c", "a") == cursors[-1]


def test_ack_of_what_was_never_published(queue: EventQueue) -> None:
    """A cursor that is none, or of the future, is refused and moves nothing (W-27)."""
    queue.publish_all("longer", [1, 2])
    cursor = queue.publish("a", 1)
    queue.ack("c", "a", cursor)
    for wrong in (queue.newest("longer") or "", "yesterday"):
        with pytest.raises(InvalidCursorError):
            queue.ack("c", "a", wrong)
    assert queue.get_cursor("c", "a") == cursor


def test_recover(queue: EventQueue) -> None:
    """Events strictly behind a cursor, in order, of this topic; without one all (EQ-6)."""
    cursors = [queue.publish("a", n) for n in range(5)]
    queue.publish("b", "other")
    assert payloads(queue.recover("a", cursors[2])) == [3, 4]
    assert payloads(queue.recover("a")) == list(range(5))
    assert queue.recover("a", cursors[4]).items == ()


def test_recover_tells_that_there_is_more(queue: EventQueue) -> None:
    """A page that ends early has the cursor to go on from; the last one has none (W-27)."""
    queue.publish_all("a", list(range(5)))
    first = queue.recover("a", limit=3)
    assert payloads(first) == [0, 1, 2]
    assert first.cursor is not None
    second = queue.recover("a", first.cursor, limit=2)
    assert (payloads(second), second.cursor) == ([3, 4], None)
    with pytest.raises(ValueError, match="limit"):
        queue.recover("a", limit=0)


def test_reconnect(storage: Storage) -> None:
    """Acknowledge 1, publish 2 to 4 elsewhere, come back: the cursor is 1, then 2 to 4 (EQ-7)."""
    with EventQueue(storage) as queue:
        first = queue.publish("a", 1)
        queue.ack("c", "a", first)
    with EventQueue(storage) as queue:
        for n in (2, 3, 4):
            queue.publish("a", n)
    with EventQueue(storage) as queue:
        assert queue.get_cursor("c", "a") == first
        assert payloads(queue.recover("a", first)) == [2, 3, 4]
        assert queue.unread("c", "a") == 3


def test_unread(queue: EventQueue) -> None:
    """What a consumer has not acknowledged is counted without reading it (EQ-11)."""
    cursors = queue.publish_all("a", [1, 2, 3])
    assert queue.unread("new", "a") == 3
    queue.ack("c", "a", cursors[0])
    assert queue.unread("c", "a") == 2
    queue.subscribe("a", consumer="late")
    assert queue.unread("late", "a") == 0
    queue.subscribe("a", consumer="early", after=Start.EARLIEST)
    assert queue.unread("early", "a") == 3
    assert queue.get_cursor("early", "a") is None


def test_a_removed_consumer_begins_anew(queue: EventQueue) -> None:
    """Consumers can be forgotten; doing so twice is no error."""
    cursor = queue.publish("a", 1)
    queue.ack("c", "a", cursor)
    for _ in range(2):
        queue.remove_consumer("c", "a")
    assert queue.get_cursor("c", "a") is None
    assert queue.consumers("a") == []


def test_a_wrong_ack_harms_nothing(queue: EventQueue) -> None:
    """It is an error to who sent it; the subscription goes on, the event comes again (EQ-12)."""
    subscription = queue.subscribe("a", consumer="c")
    queue.publish("a", 1)
    for wrong in ("", "{malformed", "zzzzzzzz-9999"):
        with pytest.raises(InvalidCursorError):
            subscription.ack(wrong)
    assert take(subscription, 1) == [1]
    subscription.close()
    assert take(queue.subscribe("a", consumer="c"), 1) == [1]


def test_what_is_stored_can_be_read_by_others(queue: EventQueue, storage: Storage) -> None:
    """Topic, events and consumers are plain JSON under names that say what they are (EQ-10)."""
    cursor = queue.publish("jobs", {"id": 7}, source="shop", number=3)
    queue.ack("worker", "jobs", cursor)
    kinds = {record.key: record.kind for record in storage.list_checkpoints()}
    assert kinds == {"topic:jobs": "torpor.topic", "consumer:jobs/worker": "torpor.consumer"}
    topic, consumer = map(storage.get_checkpoint, kinds)
    stored = {found.key: found for found in (topic, consumer) if found is not None}
    assert stored["topic:jobs"].value == {"sources": {"shop": [3, 0]}}
    assert stored["consumer:jobs/worker"].value == {"acknowledged": 0}
    head = stored["topic:jobs"].thread
    assert head is not None
    thread = storage.load_thread(head.id)
    assert thread is not None
    assert [(entry.seq, entry.payload) for entry in thread] == [(0, {"id": 7})]


@pytest.mark.parametrize("after", [False, True])
def test_an_ack_whose_answer_is_lost(*, after: bool) -> None:
    """Sent again, an acknowledgement is the same."""
    faulty = FaultyStorage(MemoryStorage())
    with EventQueue(faulty) as queue:
        cursor = queue.publish("a", 1)
        faulty.fail_next("commit", after=after)
        assert queue.ack("c", "a", cursor) == cursor
        assert queue.unread("c", "a") == 0


def test_a_damaged_consumer_is_not_taken_for_a_new_one(queue: EventQueue) -> None:
    """A record that cannot be read is an error, and stays as it is (W-30)."""
    cursor = queue.publish("a", 1)
    queue.storage.put_checkpoint("consumer:a/c", {"acknowledged": "all"}, kind="torpor.consumer")
    for ask in (
        lambda: queue.ack("c", "a", cursor),
        lambda: queue.subscribe("a", consumer="c"),
        lambda: queue.consumers("a"),
    ):
        with pytest.raises(StorageError, match="consumer"):
            ask()
    stored = queue.storage.get_checkpoint("consumer:a/c")
    assert stored is not None
    assert stored.rev == 1
