"""News between processes by publish and subscribe of Redis."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from torpor.storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from torpor.storage.redis.server import Server

__all__ = ["RedisNotifier"]


class RedisNotifier:
    """See ``torpor.storage.notifier.Notifier``. Waiting takes one connection of the client's."""

    def __init__(self, server: Server, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._waiting = threading.Lock()
        self._closed = False
        self._subscription: Any = None

    def notify(self, keys: Collection[str]) -> None:
        """Send the keys to all who wait. Raises ``StorageError``."""
        for key in keys:
            self._server.ask("PUBLISH", self._channel, key)

    def wait(self, timeout: float) -> Collection[str]:
        """Return the keys that were sent, none after ``timeout`` seconds."""
        with self._waiting:
            if self._closed:
                return ()
            try:
                if self._subscription is None:
                    self._subscribe(timeout)
                    return ()
                return self._receive(timeout)
            except BaseException:
                self._unsubscribe()
                raise

    def close(self) -> None:
        """End the waiting and give its connection back."""
        if self._closed:
            return
        self._closed = True
        if self._subscription is not None:
            with suppress(StorageError):  # who waits does so for a bounded time
                self.notify([""])
        with self._waiting:
            self._unsubscribe()

    def _subscribe(self, timeout: float) -> None:
        self._subscription = self._server.subscription()
        with self._server.translated():
            self._subscription.subscribe(self._channel)
            self._subscription.get_message(timeout=timeout)  # from now on nothing is missed

    def _receive(self, timeout: float) -> Collection[str]:
        heard: set[str] = set()
        with self._server.translated():
            message = self._subscription.get_message(timeout=timeout)
            while message is not None:
                if message["type"] == "message" and message["data"]:
                    heard.add(message["data"].decode())
                message = self._subscription.get_message()
        return heard

    def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
