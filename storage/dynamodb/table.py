"""The table and the calls to it: within a time, many at once, what was refused for now again."""

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
from torpor.storage.dynamodb.items import key_of, place, text
from torpor.storage.errors import StorageUnavailableError
from torpor.storage.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torpor.storage.dynamodb.items import Item, Key

__all__ = ["Range", "Table"]

T = TypeVar("T")

Range = tuple[str, tuple[str, str] | None]
"""A partition, and the first and last sort key meant, or all."""

_GET_AT_ONCE = 100  # BatchGetItem's own limits
_WRITE_AT_ONCE = 25
# Of an operation's time: what one request may wait to connect and then for its answer. Where
# less than their sum is left, no other begins.
_OF_CONNECT = 0.2
_OF_READ = 0.3
_CHANGES_IN_TIME = 100


class Table:
    """A table, by a client that may be anybody's.

    An operation begins with ``deadline()`` and hands it to each of its calls. What DynamoDB
    refused for now, or did not answer, is sent again with back-off until then; everything sent
    is harmless to send twice. A forked child begins with connections of its own.
    """

    def __init__(  # noqa: PLR0913 - all but the first are keywords
        self,
        name: str,
        *,
        client: Any,
        region: str | None,
        endpoint_url: str | None,
        timeout: float,
        concurrency: int,
    ) -> None:
        self.name = name
        self.opening = True
        """Until it is known that the table can be used: what is missing is to be configured."""
        self._timeout = timeout
        self._concurrency = concurrency
        self._owned = client is None
        self._client_error = driver("botocore.exceptions").ClientError
        self._driver_errors = (
            self._client_error,
            driver("botocore.exceptions").BotoCoreError,
            driver("botocore.exceptions").HTTPClientError,
        )
        self._new_client = partial(self._make_client, region, endpoint_url)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self.place = f"DynamoDB table {name!r}"
        self.client: Any = self._new_client() if client is None else client
        meta = self.client.meta
        self.place = f"DynamoDB table {name!r} in {meta.region_name} ({meta.endpoint_url})"
        _tables.add(self)

    def deadline(self, changes: int = 1) -> float:
        """Return when an operation that begins now has to end, by the monotonic clock.

        A large batch gets more time. None of its requests does, and one that fails ends it.
        """
        return time.monotonic() + self._timeout * math.ceil(changes / _CHANGES_IN_TIME)

    # -- calls --------------------------------------------------------------------------------

    def call(self, operation: str, deadline: float, **parameters: Any) -> dict[str, Any]:
        """Send one request about this table, again if need be; return the answer."""
        answer: dict[str, Any] = self._send(operation, deadline, TableName=self.name, **parameters)
        return answer

    def put_if(self, item: Item, deadline: float, *, change: str | None) -> bool:
        """Put ``item`` if what it replaces has this ``change`` (None: if there is nothing).

        Tell whether it was put. False may also mean that an earlier sending of it was.
        """
        return self._if("put_item", deadline, ("change", change), Item=item)

    def delete_if(self, key: Key, deadline: float, *, attribute: str, value: str) -> bool:
        """Delete an item if its attribute has this value; tell whether it was."""
        return self._if("delete_item", deadline, (attribute, value), Key=place(key))

    def _if(
        self, operation: str, deadline: float, expected: tuple[str, str | None], **parameters: Any
    ) -> bool:
        name, value = expected
        if value is None:
            condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        else:
            condition = {
                "ConditionExpression": "#name = :value",
                "ExpressionAttributeNames": {"#name": name},
                "ExpressionAttributeValues": {":value": text(value)},
            }
        try:
            self.call(operation, deadline, **parameters, **condition)
        except self._client_error as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise
            return False
        return True

    def get_all(self, keys: Iterable[Key], deadline: float, names: str = "") -> dict[Key, Item]:
        """Return those items that exist; ``names``: only these attributes, pk and sk among them."""
        chunks = _chunks(list(dict.fromkeys(keys)), _GET_AT_ONCE)
        found = self.parallel([partial(self._get, chunk, deadline, names) for chunk in chunks])
        return {key_of(item): item for items in found for item in items}

    def write_all(
        self, deadline: float, *, puts: Iterable[Item] = (), deletes: Iterable[Key] = ()
    ) -> None:
        """Put and delete items, each by itself, in no order."""
        requests: list[Any] = [{"PutRequest": {"Item": item}} for item in puts]
        requests += [{"DeleteRequest": {"Key": place(key)}} for key in deletes]
        chunks = _chunks(requests, _WRITE_AT_ONCE)
        self.parallel([partial(self._write, chunk, deadline) for chunk in chunks])

    def page(  # noqa: PLR0913 - all but the first two are keywords
        self,
        partition: str,
        deadline: float,
        *,
        within: tuple[str, str] | None = None,
        prefix: str = "",
        after: str | None = None,
        newest: bool = False,
        names: str = "",
        limit: int | None = None,
    ) -> tuple[list[Item], str | None]:
        """Return items of a partition by their sort keys, and after which key others follow.

        ``within``: only sort keys from the first to the second; or ``prefix``. ``after``: only
        later ones than this. ``newest``: in descending order. ``limit``: at most so many.
        """
        condition = "pk = :pk"
        values: Item = {":pk": text(partition)}
        if within is not None:
            condition += " AND sk BETWEEN :first AND :last"
            values |= {":first": text(within[0]), ":last": text(within[1])}
        elif prefix:
            condition += " AND begins_with(sk, :prefix)"
            values[":prefix"] = text(prefix)
        options: dict[str, Any] = _projection(names)
        if after is not None:
            options["ExclusiveStartKey"] = place((partition, after))
        if limit is not None:
            options["Limit"] = limit
        answer = self.call(
            "query",
            deadline,
            ConsistentRead=True,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ScanIndexForward=not newest,
            **options,
        )
        last = answer.get("LastEvaluatedKey")
        return answer["Items"], None if last is None else key_of(last)[1]

    def query(
        self, partition: str, deadline: Callable[[], float], **options: Any
    ) -> Iterator[Item]:
        """Yield the items of a partition by their sort keys; for ``options`` see ``page``.

        ``deadline`` is asked for anew for each page: there may be any number of them.
        """
        while True:
            items, after = self.page(partition, deadline(), **options)
            yield from items
            if after is None:
                return
            options["after"] = after

    def empty(self, ranges: Iterable[Range], deadline: float) -> None:
        """Delete all items of partitions, or those with sort keys in a range."""
        left: list[tuple[str, tuple[str, str] | None, str | None]] = [
            (name, within, None) for name, within in ranges
        ]
        while left:
            pages = self.parallel(
                [
                    partial(self.page, name, deadline, within=within, after=after, names="pk, sk")
                    for name, within, after in left
                ]
            )
            self.write_all(deadline, deletes=[key_of(item) for items, _ in pages for item in items])
            left = [
                (name, within, after)
                for (name, within, _), (_, after) in zip(left, pages, strict=True)
                if after is not None
            ]

    def parallel(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """Run the jobs, up to ``concurrency`` at once; return their results in order.

        If one raises, no other is begun. None runs any more when this returns or raises.
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

    # -- how they are sent --------------------------------------------------------------------

    def _send(self, operation: str, deadline: float, **parameters: Any) -> Any:
        deadline = min(deadline, self.deadline())
        attempts = 0
        failure: Exception | None = None
        cause: Exception | None = None
        while True:
            if time.monotonic() > deadline - self._timeout * (_OF_CONNECT + _OF_READ):
                if failure is None:
                    failure = StorageUnavailableError(f"{self.place} took too long to answer")
                raise failure from cause
            try:
                return getattr(self.client, operation)(**parameters)
            except self._driver_errors as error:
                if code_of(error) == "ConditionalCheckFailedException":
                    raise
                failure = translate(error, self.place, opening=self.opening)
                if not isinstance(failure, StorageUnavailableError):
                    raise failure from error
                cause = error
            attempts += 1
            time.sleep(backoff(attempts))

    def _get(self, keys: Sequence[Key], deadline: float, names: str) -> list[Item]:
        items: list[Item] = []
        request = {
            "Keys": [place(key) for key in keys],
            "ConsistentRead": True,
            **_projection(names),
        }
        for attempt in self._attempts(deadline):
            answer = self._send("batch_get_item", deadline, RequestItems={self.name: request})
            items += answer["Responses"].get(self.name, ())
            request = answer.get("UnprocessedKeys", {}).get(self.name)
            if not request:
                break
            time.sleep(backoff(attempt))
        return items

    def _write(self, requests: Sequence[Any], deadline: float) -> None:
        for attempt in self._attempts(deadline):
            answer = self._send(
                "batch_write_item", deadline, RequestItems={self.name: list(requests)}
            )
            requests = answer.get("UnprocessedItems", {}).get(self.name)
            if not requests:
                break
            time.sleep(backoff(attempt))

    def _attempts(self, deadline: float) -> Iterator[int]:
        attempt = 1
        while True:
            yield attempt
            attempt += 1
            if time.monotonic() > deadline:
                msg = f"{self.place} takes only a part of the requests for now"
                raise StorageUnavailableError(msg)

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

    def _running_pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._concurrency, "torpor-dynamodb")
            return self._pool

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
        except (*self._driver_errors, ValueError) as error:
            raise translate(error, self.place, opening=True) from error


@cache
def _descriptions() -> Any:
    """Return the loader of what AWS's services are like, which is most of a client's making."""
    return driver("botocore.loaders").create_loader()


def _projection(names: str) -> dict[str, str]:
    return {"ProjectionExpression": names} if names else {}


def _chunks(values: Sequence[T], size: int) -> list[Sequence[T]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


_tables: weakref.WeakSet[Table] = weakref.WeakSet()


def _forget_parents() -> None:
    for table in list(_tables):
        table.forget_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forget_parents)
