"""Records and their journals to items, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from torpor.storage import codec
from torpor.storage.dynamodb.items import (
    Item,
    Key,
    due_time,
    key_of,
    number,
    place,
    record_key,
    split,
    text,
    text_of,
)
from torpor.storage.dynamodb.journal import Journal, lines_of, of_lines
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import Record, Space, new_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torpor.storage.dynamodb.table import Table

__all__ = ["Form", "Stored", "form_of", "load"]

_INLINE_BYTES = 380_000  # of the 400 KB of an item
_BODY = ("record", "data", "entries", "recent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A record as it is stored. ``change`` is what a conditional write expects."""

    record: Record
    change: str
    journal: Journal
    due: Key | None
    """Where the index of wake-up times has it."""
    body: str | None
    """The partition of its body, if it is too large for one item."""


@dataclass(frozen=True, slots=True)
class Form:
    """A record as it is to be stored: ``pieces``, if it needs a ``body``, then ``item``."""

    item: Item
    due: Key | None
    body: str | None = None
    pieces: tuple[Item, ...] = ()


def form_of(space: Space, record: Record, journal: Journal, due: Key | None) -> Form:
    """Return the items of a record. Raises ``TypeError`` for what has no JSON form."""
    document = codec.encode_record(record)
    data = document.pop("data")
    body = {
        "record": codec.dumps(document),
        "data": data,
        "entries": journal.partition,
        "recent": lines_of(journal.recent),
    }
    item: Item = {**place(record_key(space, record.key)), "change": text(record.change_id)}
    if due is not None:
        item["due"] = {"L": [text(part) for part in due]}
    if _bytes(body) <= _INLINE_BYTES:
        return Form(item | _inline(body), due)
    partition = f"body#{space.value}#{record.key}#{new_id()}"
    pieces = tuple(
        {**place((partition, f"{number_:06d}")), "text": text(piece)}
        for number_, piece in enumerate(split(codec.dumps(body)))
    )
    item["body"] = {"L": [text(partition), number(len(pieces))]}
    return Form(item, due, partition, pieces)


def _bytes(body: Mapping[str, str | None]) -> int:
    return sum(len(part.encode()) for part in body.values() if part is not None)


def _inline(body: Mapping[str, str | None]) -> Item:
    return {name: text(part) for name, part in body.items() if part}


# -- back ---------------------------------------------------------------------------------------


def load(
    table: Table, space: Space, keys: Sequence[str], deadline: float
) -> dict[str, Stored | CorruptRecordError]:
    """Return what is stored under those keys that are in the table.

    What cannot be decoded is answered by its error, in its place.
    """
    places = {record_key(space, key): key for key in keys}
    items = table.get_all(places, deadline)
    large = {place_: item for place_, item in items.items() if "body" in item}
    bodies = table.parallel(
        [partial(_stored, table, places[place_], item, deadline) for place_, item in large.items()]
    )
    found = dict(zip(large, bodies, strict=True))
    return {
        key: stored
        for place_, key in places.items()
        if place_ in items
        and (stored := found.get(place_) or _stored(table, key, items[place_], deadline))
    }


def _stored(
    table: Table, key: str, item: Item, deadline: float
) -> Stored | CorruptRecordError | None:
    while item:
        damage = CorruptRecordError(key, "a piece of it is missing")
        try:
            body = _body(table, item, deadline)
            if body is not None:
                return _decoded(key, item, body)
        except CorruptRecordError as error:
            damage = error
        except codec.UNDECODABLE as error:
            damage = CorruptRecordError(key, f"undecodable item: {error!r}")
            damage.__cause__ = error
        again = table.get_all([key_of(item)], deadline).get(key_of(item), {})
        if again.get("body") == item.get("body"):
            return damage
        item = again  # no damage: it was replaced between the two readings
    return None


def _body(table: Table, item: Item, deadline: float) -> dict[str, Any] | None:
    """Return what a record holds; None if pieces of it are missing."""
    if "body" not in item:
        return {name: text_of(item, name) for name in _BODY}
    partition, count = item["body"]["L"]
    pieces = list(table.query(partition["S"], lambda: deadline))
    if len(pieces) != int(count["N"]):
        return None
    body: dict[str, Any] = codec.loads("".join(piece["text"]["S"] for piece in pieces))
    return body


def _decoded(key: str, item: Item, body: Mapping[str, Any]) -> Stored:
    document = codec.loads(body["record"]) | {"data": body["data"]}
    due = item.get("due")
    partition = body["entries"]
    if not isinstance(partition, str | None):
        msg = f"its entries are in {partition!r}"
        raise TypeError(msg)
    record = codec.decode_record(document, key)
    where = None if due is None else (due["L"][0]["S"], due["L"][1]["S"])
    if (None if where is None else due_time(where[1])) != record.wake_at:
        msg = f"it is to be woken at {record.wake_at}, and that stands in {where!r}"
        raise ValueError(msg)
    return Stored(
        record=record,
        change=item["change"]["S"],
        journal=Journal(partition, of_lines(body["recent"] or "")),
        due=where,
        body=item["body"]["L"][0]["S"] if "body" in item else None,
    )
