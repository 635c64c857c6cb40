"""From recovery to live: no gap and no duplicate, whatever happens in between."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.queue.kit import PATIENCE, payloads, take
from torpor import EventGapError, InvalidCursorError
from torpor.queue import EventQueue, Retention, Start
from torpor.queue.cursor import cursor_of, seq_of
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from torpor.queue import Event, Subscription
    from torpor.storage import Storage

MOST = 36**8 * 10_000 - 1


@given(a=st.integers(0, MOST), b=st.integers(0, MOST))
def test_cursors_sort_as_numbers(a: int, b: int) -> None:
    """Cursors compare as text as their numbers do, and tell them (EQ-2, W-28)."""
    assert (cursor_of(a) < cursor_of(b)) == (a < b)
    assert seq_of(cursor_of(a)) == a


def test_subscribing_while_others_publish(storage: Storage) -> None:
    """Recover, then subscribe behind that, under load: each event once, in order (W-27)."""
    count = 50
    with EventQueue(storage, poll_interval=0.01) as here, EventQueue(storage) as there:

        def publish(queue: EventQueue, name: str) -> None:
            for n in range(count):
                queue.publish("a", [name, n])

        publishers = [
            threading.Thread(target=publish, args=(here, "here")),
            threading.Thread(target=publish, args=(there, "there")),
        ]
        for thread in publishers:
            thread.start()
        histories: list[list[Any]] = []
        subscriptions: list[Subscription] = []
        for buffer in (1, 3, 256):
            page = here.recover("a")
            after = page.items[-1].cursor if page.items else Start.EARLIEST
            subscriptions.append(here.subscribe("a", after=after, buffer=buffer))
            histories.append(payloads(page))
        for thread in publishers:
            thread.join(PATIENCE)
        expected = payloads(here.recover("a"))
        assert len(expected) == 2 * count
        for seen, subscription in zip(histories, subscriptions, strict=True):
            assert seen + take(subscription, len(expected) - len(seen)) == expected
            assert subscription.get(0) is None


def test_a_seek_while_it_reads() -> None:
    """What was being read for the old place is not taken at the new one."""
    with MemoryStorage() as storage, EventQueue(storage) as queue:
        cursors = queue.publish_all("a", list(range(10)))
        subscription = queue.subscribe("a", after=cursors[6], buffer=5)
        store = subscription._store  # pyright: ignore[reportPrivateUsage]
        read = store.events

        def read_and_seek(name: str, begin: int | None, limit: int) -> tuple[list[Event], int]:
            found = read(name, begin, limit)
            if begin == 7:
                subscription.seek(cursors[5])
            return found

        store.events = read_and_seek  # type: ignore[method-assign]
        assert take(subscription, 4) == [6, 7, 8, 9]


class Handover(RuleBasedStateMachine):
    """A queue and its readers against a list, over two processes' views of one storage."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStorage()
        self.queues = [
            EventQueue(self.storage, poll_interval=3600, cleanup_interval=None) for _ in range(2)
        ]
        self.published: list[int] = []
        self.start = 0
        self.readers: list[tuple[Subscription, list[int]]] = []
        self.acknowledged = -1

    @initialize()
    def limit(self) -> None:
        """Let a clean-up keep three events."""
        self.queues[0].configure("a", Retention(max_age=None, max_events=3))

    @rule(queue=st.integers(0, 1), count=st.integers(1, 5))
    def publish(self, queue: int, count: int) -> None:
        """Publish the next numbers."""
        numbers = range(len(self.published), len(self.published) + count)
        cursors = self.queues[queue].publish_all("a", list(numbers))
        assert [seq_of(cursor) for cursor in cursors] == list(numbers)
        self.published += numbers

    @rule(buffer=st.integers(1, 4), back=st.integers(0, 8))
    def subscribe(self, buffer: int, back: int) -> None:
        """Begin a few events back, or find that they are gone."""
        begin = max(0, len(self.published) - back)
        after = cursor_of(begin - 1) if begin else Start.EARLIEST
        try:
            subscription = self.queues[0].subscribe("a", after=after, buffer=buffer)
        except EventGapError as gap:
            self.check_gap(begin, gap)
            return
        begin = begin if isinstance(after, str) else self.start
        self.readers.append((subscription, [begin]))

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), count=st.integers(1, 6))
    def read(self, data: st.DataObject, count: int) -> None:
        """Read a few events: exactly the next ones, or a gap that is really there."""
        subscription, place = data.draw(st.sampled_from(self.readers))
        for _ in range(count):
            try:
                event = subscription.get(0)
            except EventGapError as gap:
                self.check_gap(place[0], gap)
                place[0] = self.start
                subscription.seek(gap.resume)
                continue
            if event is None:
                return
            assert (event.payload, event.seq) == (place[0], place[0])
            place[0] += 1

    def check_gap(self, begin: int, gap: EventGapError) -> None:
        """See that there is one, and that it says how large."""
        assert begin < self.start
        assert gap.missed == self.start - begin

    @rule()
    def hear(self) -> None:
        """Look for what the other process published."""
        hub = self.queues[0]._hub  # pyright: ignore[reportPrivateUsage]
        hub._look(())  # pyright: ignore[reportPrivateUsage]
        for subscription, place in self.readers:
            assert subscription.waiting == len(self.published) - place[0]

    @rule(back=st.integers(-1, 8))
    def acknowledge(self, back: int) -> None:
        """Acknowledge any event, also an old one or one that is not there yet."""
        seq = len(self.published) - 1 - back
        if seq < 0:
            return
        if back < 0:
            try:
                self.queues[1].ack("c", "a", cursor_of(seq))
            except InvalidCursorError:
                return
            raise AssertionError
        self.acknowledged = max(self.acknowledged, seq)
        assert seq_of(self.queues[1].ack("c", "a", cursor_of(seq))) == self.acknowledged

    @rule()
    def clean(self) -> None:
        """Clean up: what is not among the newest three goes, if it is acknowledged."""
        wanted = max(self.start, len(self.published) - 3)
        if self.acknowledged >= 0:
            wanted = max(self.start, min(wanted, self.acknowledged + 1))
        assert self.queues[1].cleanup("a") == wanted - self.start
        self.start = wanted

    @invariant()
    def history(self) -> None:
        """What is kept is what was published, from the start that clean-ups left."""
        assert payloads(self.queues[1].recover("a")) == self.published[self.start :]

    def teardown(self) -> None:
        """Close."""
        for queue in self.queues:
            queue.close()
        self.storage.close()


TestHandover = Handover.TestCase
TestHandover.settings = settings(max_examples=60, stateful_step_count=30)
