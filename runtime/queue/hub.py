"""Tells the subscriptions of one process what is new in their topics.

What is published here reaches them at once. What other processes publish is noticed by one
thread, which the storage's notifier wakes where it has one, and which looks every so often
anyway: a notification may be lost, the events are in the storage.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from torpor.queue.topic import topic_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from torpor.queue.event import Event
    from torpor.queue.subscription import Subscription
    from torpor.queue.topic import TopicStore
    from torpor.storage import Storage
    from torpor.storage.notifier import Notifier

__all__ = ["Hub"]

logger = logging.getLogger("torpor")

T = TypeVar("T")


_hubs: WeakKeyDictionary[Storage, WeakSet[Hub]] = WeakKeyDictionary()
_hubs_lock = threading.Lock()


class Hub:
    """The subscriptions of one queue, and the thread that watches their topics.

    The hubs of one process on one storage object tell each other what is published.
    """

    def __init__(
        self,
        store: TopicStore,
        *,
        poll_interval: float,
        tidy: Callable[[], None],
    ) -> None:
        self._store = store
        self._poll_interval = poll_interval
        self._tidy = tidy
        self._lock = threading.Lock()
        self._subscriptions: dict[str, tuple[Subscription, ...]] = {}
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._notifier: Notifier | None = store.storage.notifier()
        self._failing: str | None = None
        with _hubs_lock:
            self._hubs = _hubs.setdefault(store.storage, WeakSet())
            self._hubs.add(self)

    def add(self, subscription: Subscription) -> None:
        """Tell ``subscription`` what is new from now on."""
        topic = subscription.topic
        with self._lock:
            self._subscriptions[topic] = (*self._subscriptions.get(topic, ()), subscription)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="torpor-queue", daemon=True
                )
                self._thread.start()

    def remove(self, subscription: Subscription) -> None:
        """Tell it no more."""
        topic = subscription.topic
        with self._lock:
            others = tuple(s for s in self._subscriptions.get(topic, ()) if s is not subscription)
            if others:
                self._subscriptions[topic] = others
            else:
                self._subscriptions.pop(topic, None)

    def hear(self, topic: str, events: Sequence[Event]) -> None:
        """Deliver events, which have no gaps, to the subscriptions of this hub."""
        for subscription in self._subscriptions.get(topic, ()):
            subscription.offer(events)

    def published(self, topic: str, events: Sequence[Event]) -> None:
        """Deliver what was published here, and tell other processes of it."""
        with _hubs_lock:
            hubs = list(self._hubs)
        for hub in hubs:
            hub.hear(topic, events)
        if self._notifier is not None:
            try:
                self._notifier.notify([topic_key(topic)])
            except Exception:
                logger.warning("subscribers elsewhere hear late of %r", topic, exc_info=True)

    @property
    def subscriptions(self) -> list[Subscription]:
        """All subscriptions of this process."""
        with self._lock:
            return [s for several in self._subscriptions.values() for s in several]

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        with _hubs_lock:
            self._hubs.discard(self)
        if self._notifier is not None:
            self._notifier.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._poll_interval + self._store.storage.timeout)

    def _watch(self) -> None:
        while not self._closed.is_set():
            heard = self._try(self._hear, "hear of")
            if self._closed.is_set():
                return
            self._try(partial(self._look, heard or ()), "look for")
            self._tidy()

    def _try(self, work: Callable[[], T], what: str) -> T | None:
        """Do ``work``; log the first of several failures, and pause."""
        try:
            result = work()
        except Exception:
            if self._failing is None and not self._closed.is_set():
                logger.warning("the event queue cannot %s new events", what, exc_info=True)
                self._failing = what
            self._closed.wait(self._poll_interval)
            return None
        if self._failing == what:
            self._failing = None
        return result

    def _hear(self) -> Collection[str]:
        """Wait; return the keys of topics that have something new, none if that is not known."""
        if self._notifier is not None:
            return self._notifier.wait(self._poll_interval)
        self._closed.wait(self._poll_interval)
        return ()

    def _look(self, heard: Collection[str]) -> None:
        topics = [
            name for name in list(self._subscriptions) if not heard or topic_key(name) in heard
        ]
        if not topics:
            return
        for topic in self._store.read_all(topics):
            for subscription in self._subscriptions.get(topic.name, ()):
                subscription.announce(topic.stop)
