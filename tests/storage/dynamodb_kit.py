"""Looking into a table behind the storage's back, and damaging what is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from torpor.storage.dynamodb import DynamoDBStorage
from torpor.storage.dynamodb.errors import driver
from torpor.storage.dynamodb.items import key_of, place, record_key
from torpor.storage.records import Space

if TYPE_CHECKING:
    from torpor.storage import Storage
    from torpor.storage.dynamodb.items import Item

__all__ = [
    "Crash",
    "Cut",
    "Wire",
    "all_items",
    "answer_of",
    "damage_entry",
    "damage_record",
    "drop_table",
    "record_item",
    "refusal",
    "table_of",
]


def table_of(storage: Storage) -> tuple[Any, str]:
    """Return the client of a storage, and the name of its table."""
    assert isinstance(storage, DynamoDBStorage)
    return storage.client, storage.table


def all_items(storage: Storage) -> list[Item]:
    """Return everything that is in the table."""
    client, name = table_of(storage)
    pages = client.get_paginator("scan").paginate(TableName=name, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]


def record_item(storage: Storage, space: Space, key: str) -> Item:
    """Return the item of a record that must exist."""
    client, name = table_of(storage)
    answer = client.get_item(TableName=name, Key=place(record_key(space, key)), ConsistentRead=True)
    item: Item = answer["Item"]
    return item


def damage_record(storage: Storage, space: Space, key: str) -> None:
    """Add a space to a checkpoint's data or a digit to a thread's revision."""
    item = record_item(storage, space, key)
    name, old, new = {
        Space.CHECKPOINTS: ("data", '"', '" '),
        Space.THREADS: ("record", '"rev":1', '"rev":11'),
    }[space]
    _change(item[name], old, new)
    _put(storage, item)


def damage_entry(storage: Storage, thread_id: str, seq: int) -> None:
    """Change a letter of the document, whether it is in the record or beside it."""
    owner = thread_id.rpartition("#")[0]
    space, key = (Space.CHECKPOINTS, owner) if owner else (Space.THREADS, thread_id)
    item = record_item(storage, space, key)
    partition = item["entries"]["S"]
    chunks = [other for other in all_items(storage) if key_of(other)[0] == partition]
    for holder, name in [(item, "recent"), *((chunk, "lines") for chunk in chunks)]:
        lines = holder.get(name, {"S": ""})["S"].split("\n")
        for number, line in enumerate(lines):
            if line.startswith(f"{seq} "):
                lines[number] = line.replace("entry", "Entry")
                assert lines[number] != line
                holder[name]["S"] = "\n".join(lines)
                _put(storage, holder)
                return
    raise AssertionError(f"no entry {seq}")  # noqa: EM102, TRY003 - of a test


def drop_table(storage: Storage) -> None:
    """Remove the table."""
    client, name = table_of(storage)
    client.delete_table(TableName=name)


def _change(attribute: dict[str, str], old: str, new: str) -> None:
    assert old in attribute["S"]
    attribute["S"] = attribute["S"].replace(old, new, 1)


def _put(storage: Storage, item: Item) -> None:
    client, name = table_of(storage)
    client.put_item(TableName=name, Item=item)


class Wire:
    """What goes between a storage and its server: counted, cut, or answered in its place."""

    def __init__(self, storage: Storage) -> None:
        self.client, _ = table_of(storage)
        self.operations: list[str] = []
        """Of each request so far, in order."""

    def __enter__(self) -> Self:
        self.client.meta.events.register("before-send.dynamodb", self._send)
        self.client.meta.events.register("after-call.dynamodb", self._answered)
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.meta.events.unregister("before-send.dynamodb", self._send)
        self.client.meta.events.unregister("after-call.dynamodb", self._answered)

    def before(self, operation: str) -> Any:
        """Return what is to be taken for the answer, None if the request is to be sent."""

    def after(self, operation: str) -> None:
        """Do something when a request has been answered."""

    def _send(self, event_name: str, **_: object) -> Any:
        operation = event_name.rpartition(".")[2]
        self.operations.append(operation)
        return self.before(operation)

    def _answered(self, event_name: str, **_: object) -> None:
        self.after(event_name.rpartition(".")[2])


class Crash(BaseException):
    """The process ends here."""


class Cut(Wire):
    """Ends the process instead of its nth request (from 0)."""

    def __init__(self, storage: Storage, number: int) -> None:
        super().__init__(storage)
        self._number = number

    def before(self, operation: str) -> None:  # noqa: ARG002 - whichever it is
        """End it, if this is the request."""
        if len(self.operations) == self._number + 1:
            raise Crash


def refusal(code: str, status: int = 400) -> Any:
    """Return DynamoDB's answer to what it refuses with this code."""
    document = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "not now"}
    return answer_of(document, status)


def answer_of(document: dict[str, Any], status: int = 200) -> Any:
    """Return an answer with this content."""
    headers = {"content-type": "application/x-amz-json-1.0"}
    answer = driver("botocore.awsrequest").AWSResponse("http://dynamodb", status, headers, None)
    answer._content = json.dumps(document).encode()
    return answer
