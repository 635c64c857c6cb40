"""The table: its items read and written, one or many at once."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from torpor.storage.dynamodb.connection import Connection
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


class Table(Connection):
    """A table, whose reads are strongly consistent."""

    def __init__(self, name: str, **options: Any) -> None:
        """Connect to the table called ``name``; for ``options`` see ``Connection``."""
        self.name = name
        super().__init__(table=name, **options)

    def call(self, operation: str, deadline: float, **parameters: Any) -> Any:
        """Send one request about this table; return the answer."""
        return self.send(operation, deadline, TableName=self.name, **parameters)

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
        return self.call(operation, deadline, **parameters, **condition) is not None

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

    def _get(self, keys: Sequence[Key], deadline: float, names: str) -> list[Item]:
        items: list[Item] = []
        request = {
            "Keys": [place(key) for key in keys],
            "ConsistentRead": True,
            **_projection(names),
        }
        for attempt in self._attempts(deadline):
            answer = self.send("batch_get_item", deadline, RequestItems={self.name: request})
            items += answer["Responses"].get(self.name, ())
            request = answer.get("UnprocessedKeys", {}).get(self.name)
            if not request:
                break
            time.sleep(backoff(attempt))
        return items

    def _write(self, requests: Sequence[Any], deadline: float) -> None:
        for attempt in self._attempts(deadline):
            answer = self.send(
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


def _projection(names: str) -> dict[str, str]:
    return {"ProjectionExpression": names} if names else {}


def _chunks(values: Sequence[T], size: int) -> list[Sequence[T]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
