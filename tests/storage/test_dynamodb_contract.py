"""DynamoDB storage keeps the contract, on Dynalite; nothing here was run against AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.places.contract import PlaceContract
from tests.storage.dynamodb_kit import damage_entry, damage_record, drop_table

if TYPE_CHECKING:
    from torpor.storage import Storage
    from torpor.storage.records import Space


class TestDynamoDB(PlaceContract):
    """In a table. A batch is a conditional write for each change, many at once."""

    backend = "dynamodb"
    few_steps = False

    def damage_record(self, storage: Storage, space: Space, key: str) -> None:
        """Change what only a checksum tells."""
        damage_record(storage, space, key)

    def damage_entry(self, storage: Storage, thread_id: str, seq: int) -> None:
        """Change a letter of the document."""
        damage_entry(storage, thread_id, seq)

    def sever(self, storage: Storage) -> None:
        """Remove the table."""
        drop_table(storage)
