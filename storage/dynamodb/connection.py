"""The connection to DynamoDB: requests within a time, many at once, refused ones sent again."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from torpor.storage.dynamodb.errors import code_of, driver, translate
from torpor.storage.errors import StorageUnavailableError
from torpor.storage.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Connection"]

T = TypeVar("T")

# Of an operation's time: what one request may wait to connect and then for its answer. Where
# less than their sum is left, no other begins.
_OF_CONNECT = 0.2
_OF_READ = 0.3
_REQUESTS_IN_TIME = 100

_UNMET = {"ConditionalCheckFailedException", "ResourceInUseException"}
"""Somebody else was here before. The second says so to whoever creates a table."""


class Connection:
    """A client, which may be somebody else's.

    An operation begins with ``deadline()`` and hands it to each of its requests. What DynamoDB
    refused for now, or did not answer, is sent again with back-off until then: whatever is sent
    here is harmless to send twice. A forked child begins with connections of its own.
    """

    def __init__(  # noqa: PLR0913 - all are keywords
        self,
        *,
        table: str,
        client: Any,
        region: str | None,
        endpoint_url: str | None,
        timeout: float,
        concurrency: int,
    ) -> None:
        self.opening = True
        """Until it is known that the table can be used: what is missing is to be configured."""
        exceptions = driver("botocore.exceptions")
        self._errors = exceptions.ClientError, exceptions.BotoCoreError, exceptions.HTTPClientError
        self._timeout = timeout
        self._concurrency = concurrency
        self._owned = client is None
        self._new_client = partial(self._make_client, region, endpoint_url)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self.place = f"DynamoDB table {table!r}"
        self.client: Any = self._new_client() if client is None else client
        self.place += f" in {self.client.meta.region_name} ({self.client.meta.endpoint_url})"
        _connections.add(self)

    # -- time ---------------------------------------------------------------------------------

    def deadline(self, requests: int = 1) -> float:
        """Return when an operation that begins now has to end, by the monotonic clock.

        A large one gets more time. None of its requests does, and one that fails ends it.
        """
        return self.extended(time.monotonic() + self._timeout, requests)

    def extended(self, deadline: float, requests: int) -> float:
        """Return when an operation has to end that turns out to need so many requests more."""
        return deadline + self._timeout * max(0, math.ceil(requests / _REQUESTS_IN_TIME) - 1)

    # -- requests -----------------------------------------------------------------------------

    def send(self, operation: str, deadline: float, **parameters: Any) -> Any:
        """Send a request, again if need be; return the answer, None if a condition was not met.

        Raises the error of the tree that says what is wrong.
        """
        deadline = min(deadline, self.deadline())
        attempts = 0
        failure: Exception = StorageUnavailableError(f"{self.place} took too long to answer")
        cause: Exception | None = None
        while time.monotonic() <= deadline - self._timeout * (_OF_CONNECT + _OF_READ):
            try:
                return getattr(self.client, operation)(**parameters)
            except self._errors as error:
                if code_of(error) in _UNMET:
                    return None
                failure = translate(error, self.place, opening=self.opening)
                if not isinstance(failure, StorageUnavailableError):
                    raise failure from error
                cause = error
            attempts += 1
            time.sleep(backoff(attempts))
        raise failure from cause

    def parallel(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """Run the jobs, up to ``concurrency`` at once; return their results in order.

        If one raises, no other is begun. None runs any more when this returns or raises. A job
        runs no jobs itself.
        """
        if len(jobs) <= 1 or self._concurrency == 1:
            return [job() for job in jobs]
        pool = self._running_pool()
        futures = [pool.submit(job) for job in jobs]
        wait(futures, return_when=FIRST_EXCEPTION)
        if any(future.done() and future.exception() for future in futures):
            left = [future for future in futures if not future.cancel()]
            wait(left)
            raise next(error for future in left if (error := future.exception()))
        return [future.result() for future in futures]

    def _running_pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._concurrency, "torpor-dynamodb")
            return self._pool

    # -- life ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections, if the client is ours."""
        if self._pool is not None:
            self._pool.shutdown()
        if self._owned:
            self.client.close()

    def forget_parent(self) -> None:
        """Begin anew in a forked child, and leave the parent its connections."""
        self._lock = threading.Lock()
        self._pool = None
        if self._owned:
            self.client = self._new_client()

    def _make_client(self, region: str | None, endpoint_url: str | None) -> Any:
        config = driver("botocore.config").Config(
            connect_timeout=self._timeout * _OF_CONNECT,
            read_timeout=self._timeout * _OF_READ,
            retries={"total_max_attempts": 1, "mode": "standard"},  # they are this class's
            max_pool_connections=2 * self._concurrency,
            tcp_keepalive=True,
        )
        try:
            session = driver("botocore.session").get_session()
            session.register_component("data_loader", _descriptions())
            return session.create_client(
                "dynamodb", region_name=region, endpoint_url=endpoint_url, config=config
            )
        except (*self._errors, ValueError) as error:
            raise translate(error, self.place, opening=True) from error


@cache
def _descriptions() -> Any:
    """Return the loader of what AWS's services are like, which is most of a client's making."""
    return driver("botocore.loaders").create_loader()


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _forget_parents() -> None:
    for connection in list(_connections):
        connection.forget_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forget_parents)
