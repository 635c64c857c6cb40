"""Publishing: durable first, in order, and once."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import pytest

from tests.queue.kit import Listener, payloads, take, wait_until
from torpor import (
    InvalidCursorError,
    InvalidKeyError,
    QueueClosedError,
    StorageUnavailableError,
    UnserializableError,
)
from torpor.queue import EventQueue
from torpor.queue.cursor import cursor_of, seq_of
from torpor.queue.sources import MAX_SOURCES
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage
from torpor.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.queue import Event
    from torpor.storage import Change, Storage
    from torpor.storage.records import Outcome


def test_publish_stores_then_delivers(storage: Storage) -> None:
    """Who hears of an event finds it in the storage; publish returns its cursor (EQ-1)."""
    found: list[list[object]] = []
    heard = Listener()

    def look(event: Event) -> None:
        with EventQueue(storage) as other:
            found.append(payloads(other.recover("jobs")))
        heard(event)

    with EventQueue(storage) as queue:
        queue.subscribe("jobs", look)
        cursor = queue.publish("jobs", {"id": 7})
        heard.wait_for(1)
    assert found == [[{"id": 7}]]
    assert heard.events[0].cursor == cursor


def test_a_failed_publish_is_neither_stored_nor_delivered() -> None:
    """An event that could not be stored is an error, and nobody hears of it (W-27)."""
    faulty = FaultyStorage(MemoryStorage())
    with EventQueue(faulty) as queue, queue.subscribe("jobs") as jobs:
        with pytest.raises(UnserializableError):
            queue.publish("jobs", {"bad": object()})
        faulty.close()
        with pytest.raises(Exception, match="closed"):
            queue.publish("jobs", {"id": 1})
        assert jobs.get(0) is None


def test_cursors_are_text_that_grows(queue: EventQueue) -> None:
    """Cursors match the format, grow as text, and are unique for 1000 quick events (EQ-2)."""
    cursors = [queue.publish("a", n) for n in range(100)]
    cursors += queue.publish_all("a", list(range(900)))
    assert all(re.fullmatch(r"[a-z0-9]+-\d{4}", cursor) for cursor in cursors)
    assert cursors == sorted(set(cursors))


@pytest.mark.parametrize("seq", [0, 1, 9_999, 10_000, 359_999, 360_000, 10**12])
def test_a_cursor_tells_its_number(seq: int) -> None:
    """Text and number are two forms of one place, also beyond 9999 (EQ-2, W-28)."""
    assert seq_of(cursor_of(seq)) == seq
    assert cursor_of(seq) < cursor_of(seq + 1)


@pytest.mark.parametrize("text", ["", "x", "00000000-000", "0000000-0000", "0000000A-0000"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """Text that no event gave is an error and not a place (W-27)."""
    with pytest.raises(InvalidCursorError):
        seq_of(text)


def test_a_clock_that_steps_back_changes_nothing() -> None:
    """Cursors and times still grow after the clock was set back an hour (W-28, HC-19)."""
    clock = ManualClock()
    with MemoryStorage() as storage, EventQueue(storage, clock=clock) as queue:
        before = queue.publish("a", 1)
        clock.set_time(clock.time() - 3600)
        assert queue.publish("a", 2) > before
        first, second = queue.recover("a")
        assert second.at >= first.at


def test_topics_are_apart(queue: EventQueue) -> None:
    """Events reach their own topic only, also where names share a prefix or a letter (EQ-3)."""
    names = ["a", "a/b", "A", "a%2Fb", "ä", "a "]
    for name in names:
        queue.publish(name, name)
    assert queue.topics() == sorted(names)
    assert [payloads(queue.recover(name)) for name in names] == [[name] for name in names]


def test_publishers_at_once_lose_nothing(storage: Storage) -> None:
    """Threads of two queues on one storage publish; each one's events keep their order (W-28)."""
    with EventQueue(storage) as one, EventQueue(storage) as two:

        def publish(queue: EventQueue, name: str) -> None:
            for n in range(25):
                queue.publish("busy", [name, n])

        threads = [
            threading.Thread(target=publish, args=(queue, f"{i} {n}"))
            for i, queue in enumerate((one, two))
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = payloads(one.recover("busy"))
    for name in {name for name, _ in found}:
        assert [n for other, n in found if other == name] == list(range(25))
    assert len(found) == 150


def test_what_threads_publish_at_once_is_stored_at_once() -> None:
    """While one change is under way, what others publish waits and shares the next one."""
    faulty = FaultyStorage(MemoryStorage())
    with EventQueue(faulty) as queue:
        queue.publish("a", -1)
        threads = [threading.Thread(target=queue.publish, args=("a", n)) for n in range(20)]
        with faulty.hang_next("commit") as hang:
            threads[0].start()
            assert hang.entered.wait(30)
            for thread in threads[1:]:
                thread.start()
            publisher = queue._publisher("a")  # pyright: ignore[reportPrivateUsage]
            waiting = publisher._waiting  # pyright: ignore[reportPrivateUsage]
            wait_until(lambda: len(waiting) == 19)
            before = faulty.calls["commit"]
        for thread in threads:
            thread.join()
        assert faulty.calls["commit"] == before + 1
        assert sorted(payloads(queue.recover("a"))) == list(range(-1, 20))


@pytest.mark.parametrize("after", [False, True])
def test_a_publish_whose_answer_is_lost_is_stored_once(*, after: bool) -> None:
    """The change is sent again when nobody knows whether it was stored (W-29)."""
    faulty = FaultyStorage(MemoryStorage())
    with EventQueue(faulty) as queue:
        queue.publish("a", 0)
        faulty.fail_next("commit", after=after)
        queue.publish("a", 1)
        assert payloads(queue.recover("a")) == [0, 1]


def test_a_lost_answer_and_a_rival_still_store_once() -> None:
    """Stored, not answered, then overtaken by another process: it is found, not repeated."""
    inner = MemoryStorage()

    class Overtaken(FaultyStorage):
        def commit(self, changes: Sequence[Change]) -> list[Outcome]:
            try:
                return super().commit(changes)
            except StorageUnavailableError:
                with EventQueue(inner) as other:
                    other.publish("a", "rival")
                raise

    faulty = Overtaken(inner)
    with EventQueue(faulty) as queue:
        for after in (True, False):
            faulty.fail_next("commit", after=after)
            queue.publish("a", after)
        assert payloads(queue.recover("a")) == [True, "rival", "rival", False]


def test_a_numbered_message_is_published_once(queue: EventQueue, storage: Storage) -> None:
    """A source that repeats a number publishes nothing and gets the cursor that it had (W-29)."""
    first = queue.publish("a", "x", source="shop", number=1)
    with EventQueue(storage) as after_restart:
        assert after_restart.publish("a", "x", source="shop", number=1) == first
        second = after_restart.publish("a", "y", source="shop", number=2)
        assert after_restart.publish("a", "x", source="shop", number=1) == second
        after_restart.publish("a", "z", source="other", number=1)
    assert payloads(queue.recover("a")) == ["x", "y", "z"]


def test_sources_are_remembered_up_to_a_limit() -> None:
    """The record of a topic does not grow with each source that ever published."""
    with MemoryStorage() as storage, EventQueue(storage) as queue:
        for n in range(MAX_SOURCES + 10):
            queue.publish("a", n, source=f"source {n}")
        record = storage.get_checkpoint("topic:a")
        assert record is not None
        assert MAX_SOURCES / 2 <= len(record.value["sources"]) <= MAX_SOURCES
        queue.publish("a", "again", source=f"source {MAX_SOURCES + 9}")
        assert queue.newest("a") == cursor_of(MAX_SOURCES + 9)


def test_one_bad_draft_fails_alone() -> None:
    """An event too large for the storage fails; those it was stored with do not."""
    inner = MemoryStorage()
    inner.max_document_bytes = 1000
    faulty = FaultyStorage(inner)
    failed: list[BaseException] = []
    with EventQueue(faulty) as queue:
        queue.publish("a", "first")

        def publish(payload: str) -> None:
            try:
                queue.publish("a", payload)
            except Exception as error:  # noqa: BLE001 - looked at below
                failed.append(error)

        sizes = [10, 10, 5000, 10]
        threads = [threading.Thread(target=publish, args=("x" * size,)) for size in sizes]
        with faulty.hang_next("commit") as hang:
            threads[0].start()
            assert hang.entered.wait(30)
            for thread in threads[1:]:
                thread.start()
            publisher = queue._publisher("a")  # pyright: ignore[reportPrivateUsage]
            waiting = publisher._waiting  # pyright: ignore[reportPrivateUsage]
            wait_until(lambda: len(waiting) == 3)
        for thread in threads:
            thread.join()
        assert [type(error).__name__ for error in failed] == ["RecordTooLargeError"]
        assert len(queue.recover("a")) == 4


def test_after_close(storage: Storage) -> None:
    """Close ends subscriptions and may be repeated; publishing then is an error (EQ-9)."""
    queue = EventQueue(storage)
    jobs = queue.subscribe("jobs")
    queue.close()
    queue.close()
    assert list(jobs) == []
    with pytest.raises(QueueClosedError):
        queue.publish("jobs", 1)
    assert storage.get_checkpoint("topic:jobs") is None


def test_a_topic_needs_a_name_that_fits(queue: EventQueue) -> None:
    """A name that no storage takes is refused before anything is done."""
    for name in ("", "a\0b", "x" * 512):
        with pytest.raises(InvalidKeyError):
            queue.publish(name, 1)


def test_the_queue_opens_and_closes_a_url(tmp_path: object) -> None:
    """Given a URL the queue owns its storage; events are there the next time (EQ-9)."""
    for count in (1, 2):
        with EventQueue(f"sqlite:///{tmp_path}/queue.db") as queue:
            queue.publish("jobs", count)
            assert payloads(queue.recover("jobs")) == list(range(1, count + 1))


def test_what_subscribers_do_to_a_payload_is_their_own() -> None:
    """Payloads are copied: nobody sees what the publisher or another subscriber changes."""
    with MemoryStorage() as storage, EventQueue(storage) as queue:
        one, two = queue.subscribe("a"), queue.subscribe("a")
        payload = {"items": [1]}
        queue.publish("a", payload)
        payload["items"].append(2)
        [mine] = take(one, 1)
        mine["items"].append(3)
        assert take(two, 1) == payloads(queue.recover("a")) == [{"items": [1]}]
