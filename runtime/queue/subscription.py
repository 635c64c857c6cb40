"""A subscriber's place in a topic: what it reads next, from its buffer or from the storage.

Events have numbers without gaps, and a subscription takes exactly the one that it is to read
next. So recovery and live delivery need no hand-over between them: what is published meanwhile
is taken if it fits, and read from the storage if it does not, because there was no room or
because it came too early. Nothing is lost or taken twice, and nobody waits for a slow subscriber.
"""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from torpor.queue.cursor import seq_of
from torpor.queue.event import Event, Start
from torpor.storage.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from torpor.queue.consumers import ConsumerStore
    from torpor.queue.topic import TopicStore

__all__ = ["Subscription"]


class Subscription:
    """A subscriber of one topic: iterate it, ``async`` or not, or ``get`` one event at a time.

    Iteration waits for the next event and ends when the subscription or its queue is closed.
    It raises ``EventGapError`` if events that it was to read are gone: ``seek(error.resume)``
    goes on behind the gap. The events of a topic come in order; at most ``buffer`` of them wait
    in memory. For one reader at a time; ``close`` and ``ack`` may be called from any thread.
    """

    def __init__(  # noqa: PLR0913 - made by EventQueue.subscribe only
        self,
        store: TopicStore,
        consumers: ConsumerStore,
        topic: str,
        *,
        consumer: str | None,
        buffer: int,
        on_close: Callable[[Subscription], None],
    ) -> None:
        if buffer < 1:
            msg = f"buffer is at least 1, not {buffer}"
            raise ConfigurationError(msg)
        self.topic = topic
        self.consumer = consumer
        self._store = store
        self._consumers = consumers
        self._limit = buffer
        self._on_close = on_close
        self._changed = threading.Condition()
        self._refilling = threading.Lock()
        self._buffer: deque[tuple[Event, bool]] = deque()  # whether others have it too
        self._next = 0  # the number of the event that is put into the buffer next
        self._stop = 0  # how far the topic is known to go
        self._placed = False
        self._closed = False
        self._wakers: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"at {self._next - len(self._buffer)}"
        return f"<Subscription of {self.topic!r} {state}>"

    # -- reading ------------------------------------------------------------------------------

    def get(self, timeout: float | None = None) -> Event | None:
        """Return the next event; None if there is none in ``timeout`` seconds, or it is closed.

        Raises ``EventGapError`` if it is gone, and ``StorageError``.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._changed:
                event = self._pop()
                if event is not None or self._closed:
                    return event
                if not self._behind:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return None
                    self._changed.wait(left)
                    continue
            self._refill()

    async def aget(self) -> Event | None:
        """``get`` for async code; bound it with ``asyncio.timeout``."""
        loop = asyncio.get_running_loop()
        while True:
            changed = asyncio.Event()

            def wake(changed: asyncio.Event = changed) -> None:
                loop.call_soon_threadsafe(changed.set)

            with self._changed:
                event = self._pop()
                if event is not None or self._closed:
                    return event
                behind = self._behind
                if not behind:
                    self._wakers.append(wake)
            if behind:
                await asyncio.to_thread(self._refill)
                continue
            try:
                await changed.wait()
            finally:
                with self._changed:
                    if wake in self._wakers:
                        self._wakers.remove(wake)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self.aget()
        if event is None:
            raise StopAsyncIteration
        return event

    @property
    def waiting(self) -> int:
        """How many events are known to be there for it, in its buffer or in the storage."""
        with self._changed:
            return self._stop - self._next + len(self._buffer)

    # -- place --------------------------------------------------------------------------------

    def ack(self, done: Event | str) -> None:
        """Note durably that this event, or cursor, and all before it are done with.

        For subscriptions with a ``consumer``, which go on behind it the next time. An older one
        than before changes nothing. Raises ``InvalidCursorError`` for one of the future.
        """
        if self.consumer is None:
            msg = "only a durable consumer acknowledges: subscribe(…, consumer=name)"
            raise ConfigurationError(msg)
        cursor = done.cursor if isinstance(done, Event) else done
        seq = seq_of(cursor)
        if seq >= self._stop:
            self._store.read(self.topic).require_published(seq)
        self._consumers.acknowledge(self.topic, self.consumer, seq)

    async def aack(self, done: Event | str) -> None:
        """``ack`` for async code."""
        await asyncio.to_thread(self.ack, done)

    def seek(self, after: str | Start) -> None:
        """Go on with the first event after a cursor, forward or back."""
        topic = self._store.read(self.topic)
        if isinstance(after, Start):
            begin = topic.start if after is Start.EARLIEST else topic.stop
        else:
            begin = seq_of(after) + 1
        self._place(begin, topic.stop)

    def start(self, after: str | Start) -> None:
        """Take the first place: behind what the consumer has acknowledged, else at ``after``."""
        topic = self._store.read(self.topic)
        if isinstance(after, Start):
            begin = topic.start if after is Start.EARLIEST else topic.stop
        else:
            begin = seq_of(after) + 1
            topic.require(begin)
        if self.consumer is not None:
            known = self._consumers.register(self.topic, self.consumer, begin - 1)
            begin = known.acknowledged + 1
        self._place(begin, topic.stop)

    def _place(self, begin: int, stop: int) -> None:
        with self._changed:
            self._buffer.clear()
            self._next = begin
            self._placed = True
            self._stop = max(self._stop, stop)
            self._wake()

    # -- for the queue ------------------------------------------------------------------------

    def offer(self, events: Sequence[Event]) -> None:
        """Take those of ``events``, which are durable and have no gaps, that come next and fit."""
        first = events[0].seq
        with self._changed:
            self._stop = max(self._stop, first + len(events))
            if self._placed and not self._closed:
                skip = self._next - first
                room = self._limit - len(self._buffer)
                if 0 <= skip < len(events) and room > 0:
                    taken = events[skip : skip + room]
                    self._buffer.extend((event, True) for event in taken)
                    self._next += len(taken)
            self._wake()

    def announce(self, stop: int) -> None:
        """Take note that the topic's events go up to before ``stop``."""
        with self._changed:
            if stop > self._stop:
                self._stop = stop
                self._wake()

    def close(self) -> None:
        """Stop delivery and end the iteration. What is not acknowledged comes again next time."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._buffer.clear()
            self._wake()
        self._on_close(self)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- inside -------------------------------------------------------------------------------

    @property
    def _behind(self) -> bool:
        return self._placed and self._next < self._stop

    def _pop(self) -> Event | None:
        if not self._buffer:
            return None
        event, shared = self._buffer.popleft()
        return replace(event, payload=copy.deepcopy(event.payload)) if shared else event

    def _wake(self) -> None:
        self._changed.notify_all()
        for waker in self._wakers:
            with suppress(RuntimeError):  # its event loop is closed
                waker()
        self._wakers.clear()

    def _refill(self) -> None:
        """Read from the storage what comes next."""
        with self._refilling:
            with self._changed:
                begin = self._next
                if self._buffer or self._closed or not self._behind:
                    return
            events, stop = self._store.events(self.topic, begin, self._limit)
            with self._changed:
                self._stop = max(self._stop, stop)
                if begin <= self._next <= begin + len(events) and not self._closed:
                    offered = self._next - begin  # meanwhile
                    fresh = events[offered : self._limit - len(self._buffer) + offered]
                    self._buffer.extend((event, False) for event in fresh)
                    self._next += len(fresh)
                self._wake()
