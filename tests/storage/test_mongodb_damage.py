"""Damaged documents of MongoDB that a vacuum and a check meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.mongodb_kit import collection
from torpor.storage.check import check
from torpor.storage.mongodb import MongoDBStorage
from torpor.storage.testing.kit import owned, payloads, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def storage(empty_place: Callable[[str], str]) -> Iterator[MongoDBStorage]:
    """Return a storage with an agent whose entries are old."""
    with MongoDBStorage.from_url(empty_place("mongodb")) as storage:
        storage.commit([owned("agent", "agent#1", "a", "b"), put("plain", 1)])
        collection("entries").update_many({}, {"$set": {"written_at": 0.0}})
        yield storage


@pytest.mark.parametrize(
    "damage",
    [
        {"$set": {"incarnation": "another"}},
        {"$unset": {"incarnation": 1}},
        {"$set": {"etag": 7}},
        {"$set": {"written_at": -1}},
    ],
    ids=range(4),
)
def test_vacuum_leaves_damaged_entries(storage: MongoDBStorage, damage: dict[str, Any]) -> None:
    """Where an entry lies says that it is needed, whatever it says of itself (rule 10)."""
    collection("entries").update_one({"seq": 0}, damage)

    storage.vacuum(-1e9)

    assert payloads(storage.load_thread("agent#1")) == ["a", "b"]


@pytest.mark.parametrize("field", ["thread", "seq", "kind"])
def test_vacuum_bears_entries_without_a_place(storage: MongoDBStorage, field: str) -> None:
    """It ends, and removes nothing that it cannot read (rule 10)."""
    collection("entries").update_one({"seq": 0}, {"$set": {field: None}})

    storage.vacuum(-1e9)

    assert collection("entries").count_documents({}) == 2


def test_damaged_record_is_no_tombstone(storage: MongoDBStorage) -> None:
    """What says that it is deleted, and holds data, is not vacuumed, and is found (rule 10)."""
    collection("checkpoints").update_one({"_id": "plain"}, {"$set": {"deleted": True}})

    assert storage.vacuum(-1e9) == 0
    assert [(each.problem, each.where) for each in check(storage)] == [("record", "plain")]


@pytest.mark.parametrize("key", [7, b"plain", None, 1.5])
def test_key_that_is_no_text(storage: MongoDBStorage, key: Any) -> None:
    """It is found by ``check``, and wakes nobody (rule 12)."""
    collection("checkpoints").insert_one({"_id": key, "wake_at": 1.0, "deleted": False})

    assert [each.problem for each in check(storage)] == ["record"]
    assert storage.list_due(5.0) == []
    assert sorted(record.key for record in storage.list_checkpoints()) == ["agent", "plain"]
