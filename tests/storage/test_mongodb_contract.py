"""MongoDB storage keeps the contract, on the stand-in that ``tests.servers.mongodb`` describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.places.contract import PlaceContract
from tests.places.mongodb import MONGODB
from tests.storage.mongodb_kit import hurry
from torpor.storage.mongodb import MongoDBStorage
from torpor.storage.mongodb.documents import entry_id
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage import Storage


class TestMongoDB(PlaceContract):
    """What a batch costs is round trips, which ``test_mongodb_commit`` counts."""

    backend = "mongodb"
    few_steps = False
    severed = False

    @pytest.mark.slow  # nearly all of it the stand-in's; test_mongodb_commit counts commands
    def test_cost_does_not_grow_with_history(self, storage: Storage) -> None:
        """With 30,000 entries, reads and appends cost about as with 30 (rule 7, W-31, W-32)."""
        super().test_cost_does_not_grow_with_history(storage)

    @pytest.mark.slow  # likewise; test_mongodb_commit has a smaller one
    def test_readers_never_see_half_a_change(self, storage: Storage) -> None:
        """Whoever reads while an owner writes sees the record with all its entries (rule 1)."""
        super().test_readers_never_see_half_a_change(storage)

    def damage_record(self, storage: Storage, space: Space, key: str) -> None:  # noqa: ARG002
        """Change what only a checksum tells."""
        change = {"version": 7} if space is Space.CHECKPOINTS else {"rev": 11}
        records = MONGODB.client[MONGODB.database][f"torpor_{space.value}"]
        assert records.update_one({"_id": key}, {"$set": change}).modified_count == 1

    def damage_entry(self, storage: Storage, thread_id: str, seq: int) -> None:  # noqa: ARG002
        """Change a letter of the document."""
        entries = MONGODB.client[MONGODB.database]["torpor_entries"]
        place = {"_id": entry_id(thread_id, seq)}
        found = entries.find_one(place)
        assert found is not None
        text = found["document"].replace("entry", "Entry")
        assert entries.update_one(place, {"$set": {"document": text}}).modified_count == 1

    @pytest.fixture(autouse=True)
    def reached_again(self) -> Iterator[None]:
        """Let a test that severed its storage be the last that is."""
        yield
        if self.severed:
            MONGODB.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})

    def sever(self, storage: Storage) -> None:
        """Let the server hang up on whoever asks it for something."""
        assert isinstance(storage, MongoDBStorage)
        hurry(storage, 0.2)
        self.severed = True
        failing = ["find", "aggregate", "insert", "update", "delete"]
        MONGODB.client.admin.command(
            {
                "configureFailPoint": "failCommand",
                "mode": "alwaysOn",
                "data": {"failCommands": failing, "closeConnection": True},
            }
        )
