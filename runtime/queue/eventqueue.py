"""The event queue: topics, publishers and subscribers, on any storage."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from torpor.clock import Clock, SystemClock
from torpor.queue.consumers import Consumer, ConsumerStore
from torpor.queue.cursor import cursor_of, seq_of
from torpor.queue.dispatcher import Dispatcher
from torpor.queue.event import Event, Start
from torpor.queue.hub import Hub
from torpor.queue.publisher import Draft, Publisher
from torpor.queue.retention import clean
from torpor.queue.sources import is_agent
from torpor.queue.subscription import Subscription
from torpor.queue.topic import Retention, Topic, TopicState, TopicStore, topic_key
from torpor.storage import Conflict, Page, Rejected, Storage, ThreadWrite, codec, open_storage
from torpor.storage.errors import ConfigurationError, QueueClosedError
from torpor.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from torpor.storage import Change
    from torpor.storage.errors import EventGapError

__all__ = ["EventQueue"]

logger = logging.getLogger("torpor")

_PUBLISHERS = 1024


class EventQueue:
    """Topics of durable events. Thread-safe, for many processes on one storage; no runtime needed.

    ``publish`` returns when the event is stored, to the degree that the storage is durable, and
    only then it is delivered. Topics and consumers exist once they are first named. A cursor is
    an event's place in its topic: cursors of one topic grow, also as text, and none is given
    twice. A context manager.

    Args:
        storage: a URL (closed with the queue) or a ``Storage`` (stays open, it is yours). A
            ``MemoryStorage`` makes a queue for tests.
        retention: of topics that have none of their own; a day, if nobody waits for more.
        poll_interval: seconds after which subscribers look for what other processes published,
            where the storage cannot tell them.
        cleanup_interval: seconds between two clean-ups of the topics that are used here; None:
            only by ``cleanup()``. A clean-up that fails is logged.
        clock: for tests: of ``Event.at`` and retention.
    """

    def __init__(
        self,
        storage: str | Storage,
        *,
        retention: Retention | None = None,
        poll_interval: float = 0.25,
        cleanup_interval: float | None = 300.0,
        clock: Clock | None = None,
    ) -> None:
        if poll_interval <= 0:
            msg = f"poll_interval is a number of seconds above 0, not {poll_interval}"
            raise ConfigurationError(msg)
        self._owns_storage = isinstance(storage, str)
        self.storage = open_storage(storage) if isinstance(storage, str) else storage
        self._retention = retention or Retention()
        self._cleanup_interval = cleanup_interval
        self._clock = clock or SystemClock()
        self._store = TopicStore(self.storage)
        self._consumers = ConsumerStore(self.storage, self._clock)
        self._hub = Hub(self._store, poll_interval=poll_interval, tidy=self._tidy)
        self._publisher = lru_cache(_PUBLISHERS)(self._make_publisher)
        self._lock = threading.Lock()
        self._used: set[str] = set()  # since the last clean-up
        self._cleaned_at = self._clock.monotonic()
        self._dispatchers: dict[Subscription, Dispatcher] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<EventQueue on {self.storage.name}{', closed' if self._closed else ''}>"

    # -- publishing ---------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: Any = None,
        *,
        kind: str = "event",
        source: str | None = None,
        number: int = 0,
    ) -> str:
        """Store an event, deliver it, and return its cursor.

        ``payload`` is plain JSON data and is copied. With ``source`` the event is stored only if
        the topic has nothing of that source with ``number`` or a greater one, else the cursor of
        that is returned: so a publisher that numbers what it sends may repeat it after an error.
        A topic remembers the 128 sources that published last, or more. Inside of an agent's turn
        the event is stored at once, whatever becomes of the turn: ``torpor.queue.publish`` makes it
        part of the turn.

        What threads publish at once is stored at once. Raises ``UnserializableError``,
        ``InvalidKeyError``, ``QueueClosedError``; ``StorageError`` if it is not known whether
        the event was stored.
        """
        [cursor] = self._publish(topic, [payload], kind=kind, source=source, number=number)
        return cursor

    def publish_all(self, topic: str, payloads: Sequence[Any], *, kind: str = "event") -> list[str]:
        """Store several events, all or none, without any other between them; as ``publish``."""
        return self._publish(topic, payloads, kind=kind) if payloads else []

    async def apublish(
        self,
        topic: str,
        payload: Any = None,
        *,
        kind: str = "event",
        source: str | None = None,
        number: int = 0,
    ) -> str:
        """``publish`` for async code."""
        return await asyncio.to_thread(
            self.publish, topic, payload, kind=kind, source=source, number=number
        )

    def _publish(
        self,
        topic: str,
        payloads: Sequence[Any],
        *,
        kind: str,
        source: str | None = None,
        number: int = 0,
    ) -> list[str]:
        self._require_open()
        topic_key(topic)
        texts = [codec.dumps(payload, "the payload") for payload in payloads]
        codec.dumps([kind, source], "kind and source")
        if source is not None and is_agent(source):
            msg = f"{source!r} is what agents are called as sources"
            raise ConfigurationError(msg)
        draft = Draft(kind=kind, payloads=texts, source=source, number=number)
        cursors = self._publisher(topic).publish(draft)
        self._used.add(topic)
        self._tidy()
        return cursors

    def submit(self, topic: str, drafts: Iterable[Draft]) -> Callable[[], None]:
        """Take what is to be published for others; return what publishes it. For the runtime."""
        publisher = self._publisher(topic)
        publisher.submit(drafts)
        self._used.add(topic)

        def drain() -> None:
            publisher.drain()
            self._tidy()

        return drain

    def _make_publisher(self, topic: str) -> Publisher:
        return Publisher(self._store, self._clock, topic, self._hub.published)

    # -- reading ------------------------------------------------------------------------------

    def recover(self, topic: str, after: str | None = None, *, limit: int = 1000) -> Page[Event]:
        """Return up to ``limit`` events behind the cursor ``after``, in order.

        None: from the oldest that is kept. The page's ``cursor`` is None if nothing was behind
        it; else pass it as ``after`` for the next page. Raises ``EventGapError`` if events
        behind ``after`` are gone, ``InvalidCursorError``.
        """
        self._require_open()
        if limit < 1:
            msg = "limit is at least 1"
            raise ValueError(msg)
        begin = None if after is None else seq_of(after) + 1
        events, stop = self._store.events(topic, begin, limit)
        more = bool(events) and events[-1].seq + 1 < stop
        return Page(items=tuple(events), cursor=events[-1].cursor if more else None)

    def subscribe(  # noqa: PLR0913 - all but two are keywords
        self,
        topic: str,
        callback: Callable[[Event], object] | None = None,
        *,
        after: str | Start = Start.LATEST,
        consumer: str | None = None,
        buffer: int = 256,
        on_gap: Callable[[EventGapError], object] | None = None,
    ) -> Subscription:
        """Subscribe to a topic, which need not exist yet: iterate the result, or pass ``callback``.

        Delivery begins behind the cursor ``after``, with what is published from now on
        (``Start.LATEST``) or with all that is kept (``Start.EARLIEST``). ``consumer`` names a
        durable consumer: one that is known begins behind what it has acknowledged, and what it
        has not acknowledged is kept for it (``Retention``). Each subscriber gets every event
        once, in order, however slow others are; at most ``buffer`` events wait in memory, the
        rest in the storage. Two subscriptions of one consumer both get every event.

        ``callback`` is called on a thread of its own, one event at a time. What it raises is
        logged; a durable consumer's event is then tried again, with pauses of up to 30 s, and is
        acknowledged after the callback has returned: it may come again after a crash. Where
        events are gone the subscription ends with an error in the log, or ``on_gap`` is called
        and it goes on behind the gap. Raises ``EventGapError``, ``InvalidCursorError``.
        """
        self._require_open()
        subscription = Subscription(
            self._store,
            self._consumers,
            topic,
            consumer=consumer,
            buffer=buffer,
            on_close=self._unsubscribe,
        )
        topic_key(topic)
        self._hub.add(subscription)  # before it reads where it begins, so that it misses nothing
        try:
            subscription.start(after)
        except BaseException:
            subscription.close()
            raise
        self._used.add(topic)
        if callback is not None:
            with self._lock:
                self._dispatchers[subscription] = Dispatcher(subscription, callback, on_gap)
        return subscription

    async def asubscribe(
        self,
        topic: str,
        *,
        after: str | Start = Start.LATEST,
        consumer: str | None = None,
        buffer: int = 256,
    ) -> Subscription:
        """``subscribe`` for async code: ``async for event in await queue.asubscribe(…)``."""
        return await asyncio.to_thread(
            self.subscribe, topic, after=after, consumer=consumer, buffer=buffer
        )

    def _unsubscribe(self, subscription: Subscription) -> None:
        self._hub.remove(subscription)
        with self._lock:
            self._dispatchers.pop(subscription, None)

    # -- consumers ----------------------------------------------------------------------------

    def ack(self, consumer: str, topic: str, cursor: str) -> str:
        """Note durably that ``consumer`` is done with all events up to ``cursor``.

        Never goes back: returns the greatest cursor that it ever acknowledged. Raises
        ``InvalidCursorError`` for one that the topic has not reached.
        """
        self._require_open()
        seq = seq_of(cursor)
        self._store.read(topic).require_published(seq)
        return cursor_of(self._consumers.acknowledge(topic, consumer, seq).acknowledged)

    def get_cursor(self, consumer: str, topic: str) -> str | None:
        """Return the cursor that ``consumer`` has acknowledged, None if it has none."""
        self._require_open()
        known = self._consumers.get(topic, consumer)
        return known.cursor if known else None

    def unread(self, consumer: str, topic: str) -> int:
        """Return how many of the events that are kept ``consumer`` has not acknowledged."""
        self._require_open()
        known = self._consumers.get(topic, consumer)
        found = self._store.read(topic)
        begin = known.acknowledged + 1 if known else found.start
        return max(0, found.stop - max(begin, found.start))

    def consumers(self, topic: str) -> list[Consumer]:
        """Return the durable consumers of a topic, by name."""
        self._require_open()
        return self._consumers.of_topic(topic)

    def remove_consumer(self, consumer: str, topic: str) -> None:
        """Forget a durable consumer and keep nothing for it. No error if there is none."""
        self._require_open()
        self._consumers.remove(topic, consumer)

    # -- topics -------------------------------------------------------------------------------

    def topics(self) -> list[str]:
        """Return the names of the topics that something was published to, sorted."""
        self._require_open()
        return self._store.names()

    def newest(self, topic: str) -> str | None:
        """Return the cursor of the newest event ever, None if there was none."""
        self._require_open()
        stop = self._store.read(topic).stop
        return cursor_of(stop - 1) if stop else None

    def configure(self, topic: str, retention: Retention | None) -> None:
        """Give a topic a retention of its own, for all processes; None: each queue's own."""
        self._require_open()
        self._update(
            topic,
            lambda found: found.change(
                found.state.model_copy(update={"retention": retention}), None, self._clock.time()
            ),
        )

    def delete_topic(self, topic: str) -> None:
        """Remove a topic's events and consumers. Its cursors still go on if it is used again."""
        self._require_open()
        for consumer in self._consumers.of_topic(topic):
            self._consumers.remove(topic, consumer.name)

        def emptied(found: Topic) -> Change:
            head = found.head
            write = ThreadWrite(id=head.id, trim_before=found.stop) if head else None
            return found.change(TopicState(deleted=True), write, self._clock.time())

        self._update(topic, emptied)

    def cleanup(self, topic: str | None = None) -> int:
        """Remove what retention lets go, of one topic or of all; return how many events."""
        self._require_open()
        names = self._store.names() if topic is None else [topic]
        return sum(self._clean(name) for name in names)

    def _clean(self, topic: str) -> int:
        return clean(self._store, self._consumers, self._clock, topic, self._retention)

    def _update(self, name: str, change: Callable[[Topic], Change]) -> None:
        while True:
            [outcome] = retrying()(self.storage.commit, [change(self._store.read(name))])
            if isinstance(outcome, Rejected):
                raise outcome.error
            if not isinstance(outcome, Conflict):
                return

    def _tidy(self) -> None:
        """Clean up the topics that were used here, if it is time for that."""
        interval = self._cleanup_interval
        now = self._clock.monotonic()
        if interval is None or now - self._cleaned_at < interval:
            return
        with self._lock:
            if now - self._cleaned_at < interval:
                return
            self._cleaned_at = now
            used, self._used = self._used, set()
        self._used |= {subscription.topic for subscription in self._hub.subscriptions}
        for topic in list(used):  # to which somebody may still be adding
            try:
                self._clean(topic)
            except Exception:
                logger.warning("cannot clean up the topic %r", topic, exc_info=True)

    # -- end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """End all subscriptions and close the storage if it is the queue's. Twice is no error.

        Waits up to the storage's timeout for callbacks that are running.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            dispatchers = list(self._dispatchers.values())
        for subscription in self._hub.subscriptions:
            subscription.close()
        for dispatcher in dispatchers:
            dispatcher.close(max(self.storage.timeout, 1.0))
        self._hub.close()
        if self._owns_storage:
            self.storage.close()

    def _require_open(self) -> None:
        if self._closed:
            msg = "this event queue is closed"
            raise QueueClosedError(msg)

    def __enter__(self) -> Self:
        self._require_open()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
