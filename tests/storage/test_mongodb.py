"""What is peculiar to MongoDB storage: its documents, its clients, what it asks the server for.

Run against the stand-in that ``tests.servers.mongodb`` describes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.read_concern import ReadConcern

from tests.places.mongodb import MONGODB
from tests.storage.mongodb_kit import collection, records_of, watched
from torpor.storage import open_storage
from torpor.storage.errors import CorruptRecordError
from torpor.storage.mongodb import MongoDBStorage
from torpor.storage.records import Space
from torpor.storage.testing.kit import all_pages, append, checkpoint, owned, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def url(empty_place: Callable[[str], str]) -> str:
    """Return the URL of an empty store."""
    return empty_place("mongodb")


@pytest.fixture
def storage(url: str) -> Iterator[MongoDBStorage]:
    """Return a storage on it."""
    with MongoDBStorage.from_url(url) as storage:
        yield storage


# -- documents ------------------------------------------------------------------------------------


def test_state_can_be_queried(storage: MongoDBStorage) -> None:
    """The server finds agents by what is in their state."""
    for number in range(5):
        storage.put_checkpoint(f"counter/{number}", {"count": number, "tags": ["x"]}, kind="c")

    found = collection("checkpoints").find(
        {"kind": "c", "state.count": {"$gte": 3}}, sort={"_id": 1}
    )

    assert [document["_id"] for document in found] == ["counter/3", "counter/4"]


def test_entries_can_be_queried(storage: MongoDBStorage) -> None:
    """A thread's entries are found in order, each with its JSON text."""
    storage.commit([append("log", "a", "b")])

    found = collection("entries").find({"thread": "log", "kind": "note"}, sort={"seq": 1})

    assert [json.loads(document["document"])["payload"] for document in found] == ["a", "b"]


def test_unqueryable_state_is_stored_once(url: str) -> None:
    """``queryable=False`` halves what is stored."""
    with open_storage(url, queryable=False) as storage:
        storage.put_checkpoint("agent", {"count": 1})

        assert checkpoint(storage, "agent").value == {"count": 1}
    stored = collection("checkpoints").find_one()
    assert stored is not None
    assert "state" not in stored


@pytest.mark.parametrize(
    "text",
    [
        '{ "b": 1.0,\n "a" : 1e400 }',
        '{"big": 36893488147419103232}',
        '{"$ref": "#/defs"}',
        '{"a": {"$set": 1}}',
        '{"price": "$5.00"}',
        '{"nul\\u0000": "\\u0000"}',
        '["\\ud800"]',
        '{"twice": 1, "twice": 2}',
        "[" * 200 + "]" * 200,
        '[1, "$", ' + "[" * 50 + "]" * 50 + "]",
        "null",
        "-0.0",
    ],
    ids=range(12),
)
def test_any_json_is_byte_true(storage: MongoDBStorage, text: str) -> None:
    """What BSON can't hold, or would change, is stored as the text that it is (rule 10)."""
    change = put("agent")
    assert change.put is not None
    object.__setattr__(change.put, "data", text)

    storage.commit([change])

    assert checkpoint(storage, "agent").data == text


@pytest.mark.parametrize(
    ("value", "copied"),
    [
        ({"price": "$5.00", "list": [[1]]}, True),
        ({"big": 2**63}, False),
        ({"$ref": 1}, False),
        ({"nul\0": 1}, False),
    ],
    ids=["text", "number", "dollar", "nul"],
)
def test_state_that_bson_cannot_hold_is_left_out(
    storage: MongoDBStorage, value: Any, *, copied: bool
) -> None:
    """The copy is exact or missing, so that no query is answered by something else."""
    storage.put_checkpoint("agent", value)

    stored = collection("checkpoints").find_one()
    assert stored is not None
    assert stored.get("state") == (value if copied else None)


def test_state_is_never_read(storage: MongoDBStorage) -> None:
    """The text is what counts, and the copy does not travel back."""
    storage.put_checkpoint("agent", {"count": 1})
    collection("checkpoints").update_one({}, {"$set": {"state": "changed"}})

    assert checkpoint(storage, "agent").value == {"count": 1}


@pytest.mark.parametrize(
    "damage",
    [
        {"$set": {"rev": "1"}},
        {"$set": {"rev": 1.0}},
        {"$set": {"deleted": 0}},
        {"$set": {"data": 7}},
        {"$set": {"etag": None}},
        {"$set": {"wake_at": "soon"}},
        {"$set": {"thread": "{"}},
        {"$unset": {"checksum": 1}},
        {"$unset": {"data": 1}},
    ],
    ids=range(9),
)
def test_damaged_document(storage: MongoDBStorage, damage: dict[str, Any]) -> None:
    """Whatever is wrong with a document, it is told and left as it is (rule 10)."""
    storage.put_checkpoint("agent", {"count": 1})
    collection("checkpoints").update_one({}, damage)
    before = collection("checkpoints").find_one()

    with pytest.raises(CorruptRecordError):
        storage.get_checkpoint("agent")
    [outcome] = storage.commit([put("agent", 2)])

    assert isinstance(getattr(outcome, "error", None), CorruptRecordError)
    assert all_pages(storage, Space.CHECKPOINTS) == []
    assert collection("checkpoints").find_one() == before


# -- clients --------------------------------------------------------------------------------------


def test_client_that_was_passed_in_stays_open(url: str) -> None:
    """Whoever opened a client closes it, whatever its settings are for other uses."""
    client: MongoClient[Any] = MongoClient(url.partition("?")[0], tz_aware=True)
    with client:
        with MongoDBStorage(client) as storage:
            storage.put_checkpoint("agent", 1)
            assert storage.client is client
        assert client[MONGODB.database]["torpor_checkpoints"].count_documents({}) == 1


def test_database_and_prefix(url: str) -> None:
    """Several stores stand beside each other in one database, or in several."""
    other = f"{MONGODB.database}_other"
    with (
        open_storage(url) as first,
        open_storage(f"{url}&collection_prefix=mine_") as second,
        open_storage(url, database=other) as third,
    ):
        first.put_checkpoint("agent", 1)
        second.put_checkpoint("agent", 2)

        assert third.get_checkpoint("agent") is None
        assert checkpoint(first, "agent").value == 1
        assert checkpoint(second, "agent").value == 2
        assert repr(third) == f"<MongoDBStorage {MONGODB.address}, {other}>"
    MONGODB.client.drop_database(other)
    names = MONGODB.client[MONGODB.database].list_collection_names()
    assert {"torpor_checkpoints", "mine_checkpoints"} <= set(names)


# -- what the server is asked for -----------------------------------------------------------------


def test_concerns(url: str) -> None:
    """By default a majority's journals acknowledge, and only what a majority has is read."""
    with watched(url) as (storage, log):
        names = log.of(lambda: storage.commit([owned("agent", "agent#1", 1)]))
        reading, *writing = log.commands[:]

    assert names == ["find", "insert", "update"]
    assert reading["readConcern"] == {"level": "majority"}
    for command in writing:
        assert command["writeConcern"] == {"w": "majority", "j": True}


def test_chosen_concern(url: str) -> None:
    """A write concern of the URL is kept, and reads then see what it acknowledged."""
    with MongoDBStorage.from_url(f"{url}&w=1&journal=false&readPreference=secondary") as storage:
        records = records_of(storage)

        assert records.write_concern == WriteConcern(1, j=False)
        assert records.read_concern == ReadConcern("local")
        assert records.read_preference == ReadPreference.PRIMARY
        assert storage.put_checkpoint("agent", 1) == 1


def test_indexes_are_used(storage: MongoDBStorage) -> None:
    """Due records, dead ones and the entries of a thread are found by an index (rule 12)."""
    storage.commit([put("agent", wake_at=1.0), append("log", 1)])
    records, entries = collection("checkpoints"), collection("entries")
    queries = {
        "due": records.find({"wake_at": {"$lte": 2.0}}).sort("wake_at", 1),
        "dead": records.find({"deleted": True, "updated_at": {"$lt": 5.0}}),
        "place": entries.find({"thread": "log", "seq": {"$gte": 0, "$lt": 9}}).sort(
            [("thread", 1), ("seq", 1)]
        ),
    }

    for index, query in queries.items():
        plan = str(query.explain()["queryPlanner"]["winningPlan"])
        assert f"'indexName': '{index}'" in plan
