"""What the tests of the queue share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torpor.queue import Event, Subscription

__all__ = ["PATIENCE", "Listener", "payloads", "take", "wait_until"]

PATIENCE = 30.0
"""Seconds after which a test stops waiting for what should have happened long ago."""


def payloads(events: Iterable[Event]) -> list[Any]:
    """Return what the events carry."""
    return [event.payload for event in events]


def take(subscription: Subscription, count: int) -> list[Any]:
    """Return the payloads of the next ``count`` events."""
    taken: list[Any] = []
    while len(taken) < count:
        event = subscription.get(PATIENCE)
        assert event is not None, f"only {taken} came"
        taken.append(event.payload)
    return taken


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what nobody tells of."""
    pause = threading.Event()
    for _ in range(round(PATIENCE / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError(condition)


class Listener:
    """A callback that keeps what it is called with."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[Any]:
        """Return the payloads of the events so far, once there are ``count``."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.events) >= count, PATIENCE)
            assert came, f"only {payloads(self.events)} came"
            return payloads(self.events)
