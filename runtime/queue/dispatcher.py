"""A thread that calls a function with each event of a subscription."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from torpor.storage.errors import EventGapError, QueueError, StorageError
from torpor.storage.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.queue.event import Event
    from torpor.queue.subscription import Subscription

__all__ = ["Dispatcher"]

logger = logging.getLogger("torpor")

_ACK_EVERY_EVENTS = 64
_ACK_EVERY_SECONDS = 1.0
_LONGEST_PAUSE = 30.0


class Dispatcher:
    """Feeds one callback, in order, one event at a time, and nobody else waits for it."""

    def __init__(
        self,
        subscription: Subscription,
        callback: Callable[[Event], object],
        on_gap: Callable[[EventGapError], object] | None,
    ) -> None:
        self._subscription = subscription
        self._callback = callback
        self._on_gap = on_gap
        self._done: Event | None = None  # handled and not acknowledged
        self._handled = 0
        self._acknowledged_at = time.monotonic()
        self._pause = threading.Event()
        name = f"torpor-queue-{subscription.topic}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Wait for the event under way; the subscription has been closed before."""
        self._pause.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        failures = 0
        while not self._subscription.closed:
            try:
                self._step()
                failures = 0
            except StorageError:
                failures += 1
                logger.warning("%r cannot read or acknowledge", self._subscription, exc_info=True)
                self._pause.wait(min(backoff(failures) * 4, _LONGEST_PAUSE))
            except QueueError:  # a store that was set back, say: nothing that passes
                logger.exception("%r ends", self._subscription)
                self._subscription.close()
        try:
            self._acknowledge(everything=True)
        except StorageError:
            logger.warning("%r: events will come again", self._subscription, exc_info=True)

    def _step(self) -> None:
        try:
            event = self._subscription.get(_ACK_EVERY_SECONDS if self._done else None)
        except EventGapError as gap:
            self._meet(gap)
            return
        if event is not None:
            self._handle(event)
        self._acknowledge(everything=event is None)

    def _handle(self, event: Event) -> None:
        """Call the callback; for a durable consumer until it succeeds."""
        attempt = 0
        while True:
            try:
                self._callback(event)
                break
            except Exception:
                attempt += 1
                logger.exception("a subscriber of %r failed with %s", event.topic, event.cursor)
                if self._subscription.consumer is None:
                    return
            if self._pause.wait(min(0.05 * 2**attempt, _LONGEST_PAUSE)):
                return
            if self._subscription.closed:
                return
        self._done = event
        self._handled += 1

    def _acknowledge(self, *, everything: bool) -> None:
        """Acknowledge what is handled, several events at once while more of them come."""
        if self._done is None or self._subscription.consumer is None:
            self._done = None
            return
        now = time.monotonic()
        due = (
            self._handled >= _ACK_EVERY_EVENTS
            or now - self._acknowledged_at >= _ACK_EVERY_SECONDS
            or not self._subscription.waiting
        )
        if everything or due:
            self._subscription.ack(self._done)
            self._done, self._handled, self._acknowledged_at = None, 0, now

    def _meet(self, gap: EventGapError) -> None:
        if self._on_gap is None:
            logger.error("%r ends: %s", self._subscription, gap)
            self._subscription.close()
            return
        try:
            self._on_gap(gap)
        except Exception:
            logger.exception("on_gap of %r failed", self._subscription)
        self._subscription.seek(gap.resume)
