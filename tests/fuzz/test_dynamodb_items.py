"""Damaged items of DynamoDB, in a table in memory, by every public way."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import ANYTHING, changed, mutated, object_of, text_of
from tests.fuzz.dynamodb import Items, TableInMemory
from tests.fuzz.kit import FEWER, NEIGHBOUR, entries, fill, look_at, stored
from tests.fuzz.test_decoders import resealed
from torpor.storage import Change, Put, ThreadWrite
from torpor.storage.dynamodb import DynamoDBStorage


def _sound() -> Items:
    """Return what the product makes: with chunks of entries, a large body, and the indexes."""
    table = TableInMemory()
    with DynamoDBStorage("table", client=table, concurrency=1) as storage:
        fill(storage)
        for size in (10, 10, 10, 400_000):
            thread = ThreadWrite(id="large#1", entries=entries(8))
            put = Put(data=json.dumps("x" * size))
            storage.commit([Change(key="large", put=put, thread=thread, wake_at=5.0)])
    assert {key[0].partition("#")[0] for key in table.items} >= {"body", "entries", "index", "due"}
    return table.items


SOUND = _sound()


@st.composite
def damages(draw: st.DrawFn) -> tuple[tuple[str, str], dict[str, Any]]:
    """Return the key of an item, and what is there now."""
    key = draw(st.sampled_from(sorted(SOUND)))
    item: dict[str, Any] = copy.deepcopy(SOUND[key])
    name = draw(st.sampled_from(sorted({*item} - {"pk", "sk"})))
    kind, value = next(iter(item[name].items()))
    fault = draw(st.sampled_from(["remove", "type", "bytes", "json", "list"]))
    if fault == "remove":
        del item[name]
    elif fault == "type":
        item[name] = draw(
            st.sampled_from([{"N": "7"}, {"BOOL": True}, {"NULL": True}, {"B": b"\xff"}, {"S": ""}])
            | st.integers(-5, 10**6).map(lambda number: {"N": str(number)})
            | ANYTHING.map(lambda value: {"S": text_of(value)})
        )
    elif fault == "list" and kind == "L":
        item[name] = {"L": draw(changed(value))}
    elif kind == "S":
        content = value[:2000]
        if fault == "json" and name == "record":
            document = json.loads(value) | {"data": item.get("data", {"S": None})["S"]}
            sealed = resealed(draw(changed(document)))
            (object_of(sealed) or {}).pop("data", None)
            item[name] = {"S": text_of(sealed)}
        else:
            item[name] = {"S": draw(mutated(content.encode())).decode("utf-8", "replace")}
    return key, item


@FEWER
@given(damage=damages())
def test_changed_item(damage: tuple[tuple[str, str], dict[str, Any]]) -> None:
    """Whatever an attribute holds: typed errors at most, and no item is written or removed."""
    table = TableInMemory(SOUND)
    with DynamoDBStorage("table", client=table, concurrency=1) as storage:
        neighbour = stored(storage, NEIGHBOUR)
        key, item = damage
        table.items[key] = item
        before = _kept(table)
        look_at(storage)
        storage.read(["large"])
        if key[0] != f"checkpoints#{NEIGHBOUR}":
            assert stored(storage, NEIGHBOUR) == neighbour
        storage.vacuum(-1e9)
    assert _kept(table) == before


def _kept(table: TableInMemory) -> Items:
    """Return all items but hints, which go when the damaged item is the one that names them."""
    return copy.deepcopy(
        {key: item for key, item in table.items.items() if not key[0].startswith("due#")}
    )
