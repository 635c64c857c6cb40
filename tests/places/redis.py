"""Redis and Valkey: servers of the tests' own, since one that others use could not be emptied."""

# pyright: reportUnknownMemberType=false
# redis-py leaves keyword arguments without a type

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tests.places.base import Place
from tests.servers.redis import ForgetfulRedis

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["REDIS", "RedisPlace"]


class RedisPlace(Place):
    """A server that is started when it is first needed."""

    def __init__(self, make: Callable[[], ForgetfulRedis]) -> None:
        self._make = make
        self._server: ForgetfulRedis | None = None
        self._numbers = itertools.count()

    def empty(self, folder: Path | None = None) -> str:  # noqa: ARG002 - it needs none
        """Return the URL of a new store in an empty server."""
        if self._server is None:
            self._server = self._make()
        with self._server.client as client:
            client.flushall()
        return f"{self._server.url}?prefix=test{next(self._numbers)}"

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.close()


REDIS = RedisPlace(ForgetfulRedis)
