"""Damaged items of DynamoDB: what fuzzing found, each of it a defect once."""

from __future__ import annotations

import pytest

from tests.fuzz.dynamodb import TableInMemory
from torpor.storage.dynamodb import DynamoDBStorage
from torpor.storage.errors import ConfigurationError, CorruptRecordError
from torpor.storage.testing.kit import put


@pytest.fixture
def table() -> TableInMemory:
    """Return a table with two agents that are due, and a large one."""
    table = TableInMemory()
    with DynamoDBStorage("table", client=table) as storage:
        storage.commit([put(key, key, wake_at=1.0) for key in "ab"])
        storage.commit([put("large", "x" * 400_000)])
    return table


def test_lost_wake_up(table: TableInMemory) -> None:
    """A record that does not know where its wake-up time stands is damaged (rule 12)."""
    del table.items["checkpoints#a", "record"]["due"]

    with DynamoDBStorage("table", client=table) as storage:
        with pytest.raises(CorruptRecordError, match="woken"):
            storage.get_checkpoint("a")
        assert [due.key for due in storage.list_due(5.0)] == ["b"]


def test_hint_of_nothing(table: TableInMemory) -> None:
    """A garbled hint hides no other, and ends no vacuum (rule 12)."""
    hint = next(key for key in table.items if key[0].startswith("due#"))
    del table.items[hint]["space"]

    with DynamoDBStorage("table", client=table) as storage:
        assert len(storage.list_due(5.0)) == 1
        storage.vacuum(-1e9)
    assert hint in table.items


def test_note_that_names_another(table: TableInMemory) -> None:
    """A garbled note does not let vacuum empty a partition that is in use (rule 10)."""
    body = next(key for key in table.items if key[0].startswith("body#"))
    table.items["rubbish#0", "x"] = {
        "pk": {"S": "rubbish#0"},
        "sk": {"S": "x"},
        "at": {"N": "1"},
        "space": {"S": "checkpoints"},
        "key": {"S": "nobody"},
        "partition": {"S": body[0]},
    }

    with DynamoDBStorage("table", client=table) as storage:
        storage.vacuum(-1e9)
        found = storage.get_checkpoint("large")
    assert found is not None
    assert found.value == "x" * 400_000


def test_table_without_format(table: TableInMemory) -> None:
    """It is refused, by an error that says so."""
    table.items["torpor", "table"]["format"] = {"S": "1"}

    with pytest.raises(ConfigurationError, match="format"):
        DynamoDBStorage("table", client=table)
