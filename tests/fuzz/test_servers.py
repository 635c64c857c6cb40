"""Damaged records on real servers, by every public way: PostgreSQL, Redis and MongoDB."""

# ruff: noqa: S608 - names and statements are these tests' own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# redis-py leaves keyword arguments without a type

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import changed, junk, mutated, text_of
from tests.fuzz.kit import AGENT, FEWER, LOG, NEIGHBOUR, THREAD, fill, look_at, stored
from tests.fuzz.test_decoders import bson_documents
from tests.places.mongodb import MONGODB
from tests.places.redis import REDIS
from tests.places.sql import POSTGRESQL, TABLES
from tests.storage.mongodb_kit import collection
from tests.storage.redis_kit import client_of
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from torpor.storage import Storage


def opened(url: str) -> Iterator[Storage]:
    """Yield a storage for many examples."""
    with open_storage(url) as storage:
        yield storage


@pytest.fixture(scope="module")
def postgresql(all_places: None) -> Iterator[Storage]:  # noqa: ARG001 - which ends it
    """Return a storage on PostgreSQL."""
    yield from opened(POSTGRESQL.empty())


WORDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
WHOLE = st.integers(-(2**63), 2**63 - 1)
DOCUMENTS = st.builds(
    json.dumps,
    st.recursive(WORDS | WHOLE, lambda each: st.lists(each) | st.dictionaries(WORDS, each)),
)
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "rev": WHOLE,
    "change_id": WORDS,
    "deleted": st.integers(-9, 9),
    "kind": WORDS,
    "version": WHOLE,
    "wake_at": st.none() | st.floats(),
    "updated_at": st.floats(),
    "thread": st.none() | DOCUMENTS,
    "checksum": WHOLE,
    "data": st.none() | DOCUMENTS,
}


def rows() -> list[Any]:
    """Return all rows of PostgreSQL's tables."""
    query = "SELECT each::text FROM {}.{} each ORDER BY 1"
    with POSTGRESQL.admin.connect() as connection:
        return [
            connection.exec_driver_sql(query.format(POSTGRESQL.schema, table)).all()
            for table in TABLES
        ]


@FEWER
@given(data=st.data())
def test_postgresql(postgresql: Storage, data: st.DataObject) -> None:
    """Any value that a column takes: typed errors, sound neighbours, and nothing is written."""
    table, key = data.draw(
        st.sampled_from([("checkpoints", "key"), ("threads", "key"), ("entries", "thread_id")])
    )
    place = {"checkpoints": AGENT, "threads": LOG, "entries": THREAD}[table]
    document = st.tuples(st.just("document"), DOCUMENTS)
    column, value = data.draw(
        document if table == "entries" else st.sampled_from([*COLUMNS]).flatmap(_filled), "damage"
    )
    POSTGRESQL.run(*(f"DELETE FROM {POSTGRESQL.schema}.{each}" for each in TABLES))
    fill(postgresql)
    neighbour = stored(postgresql, NEIGHBOUR)
    POSTGRESQL.run(
        f"UPDATE {POSTGRESQL.schema}.torpor_{table} SET {column} = :value WHERE {key} = :key",
        value=value,
        key=place,
    )
    before = rows()
    look_at(postgresql)
    postgresql.vacuum(-1e9)
    assert stored(postgresql, NEIGHBOUR) == neighbour
    assert rows() == before


def _filled(column: str) -> st.SearchStrategy[tuple[str, Any]]:
    return st.tuples(st.just(column), COLUMNS[column])


@pytest.fixture(scope="module")
def redis(all_places: None) -> Iterator[tuple[Storage, dict[bytes, Any]]]:  # noqa: ARG001
    """Return a storage on Redis, and what it has put there."""
    with open_storage(REDIS.empty()) as storage:
        fill(storage)
        yield storage, dump(client_of(storage))


def dump(client: Redis) -> dict[bytes, Any]:
    """Return what is under each key but that of the format."""
    keys = [key for key in client.scan_iter(count=1000) if not key.endswith(b":format")]
    return {key: client.dump(key) for key in keys}


@FEWER
@given(data=st.data())
def test_redis(redis: tuple[Storage, dict[bytes, Any]], data: st.DataObject) -> None:
    """Other bytes, another type, a strange line in an index: typed errors, nothing is written."""
    storage, sound = redis
    client = client_of(storage)
    for key, value in sound.items():
        client.restore(key, 0, value, replace=True)
    key = data.draw(st.sampled_from(sorted(sound)), "key")
    fault = data.draw(st.sampled_from(["bytes", "type", "line"]), "fault")
    if fault == "type":
        client.delete(key)
        client.lpush(key, "a list")
    elif client.type(key) == b"zset":
        line = data.draw(mutated(b"checkpoint:counter/b") | junk, "line")
        client.zadd(key, {line: data.draw(st.sampled_from([-1.0, 0.0, 1e9]), "score")})
    elif client.type(key) == b"stream":
        content = data.draw(mutated(b'{"id":"e3","kind":"note"}') | junk, "document")
        client.xadd(key, {data.draw(st.sampled_from(["document", "x"])): content}, id="2-2")
    else:
        whole: Any = client.get(key)
        client.set(key, data.draw(mutated(whole) | _redis_record(whole), "value"))
    before = dump(client)
    look_at(storage)
    assert dump(client) == before


def _redis_record(value: bytes) -> st.SearchStrategy[bytes]:
    header, newline, content = value.partition(b"\n")
    documents = changed(json.loads(header)).map(text_of)
    return documents.map(lambda document: document.encode() + newline + content)


@pytest.fixture(scope="module")
def mongodb(all_places: None) -> Iterator[Storage]:  # noqa: ARG001 - which ends it
    """Return a storage on the stand-in for MongoDB."""
    yield from opened(MONGODB.empty())


@pytest.mark.slow
@pytest.mark.timeout(600)
@FEWER
@given(document=bson_documents(), key=st.sampled_from([7, True, b"x", 1.5, AGENT]))
def test_mongodb(mongodb: Storage, document: dict[str, Any], key: Any) -> None:
    """Any document in place of a record: typed errors, and nothing is written."""
    records = collection("checkpoints")
    for name in ("checkpoints", "threads", "entries"):
        collection(name).delete_many({})
    fill(mongodb)
    try:
        records.replace_one({"_id": AGENT}, {**document, "_id": AGENT}, upsert=True)
        records.replace_one({"_id": key}, {**document, "_id": key}, upsert=True)
    except (OverflowError, UnicodeEncodeError, ValueError, TypeError, RecursionError):
        return  # which BSON can't hold
    before = list(records.find())
    look_at(mongodb)
    mongodb.vacuum(-1e9)
    assert list(records.find()) == before
