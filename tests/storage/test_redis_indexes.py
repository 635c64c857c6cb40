"""Indexes of a Redis store into which something else has written."""

# pyright: reportUnknownMemberType=false
# redis-py leaves keyword arguments without a type

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.redis_kit import client_of
from torpor.storage import open_storage
from torpor.storage.errors import CorruptRecordError
from torpor.storage.testing.kit import put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage


@pytest.fixture
def storage(empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return a storage with an agent that is due."""
    with open_storage(empty_place("redis")) as storage:
        storage.commit([put("agent", 1, wake_at=2.0)])
        yield storage


def _indexes(storage: Storage, name: str) -> list[bytes]:
    client: Any = client_of(storage)
    return [key for key in client.scan_iter() if key.endswith(name.encode())]


def test_strange_lines_hide_no_agent(storage: Storage) -> None:
    """However many come first, who is due behind them is found, and they stay (rule 12)."""
    [wake] = _indexes(storage, ":wake")
    lines = {b"junk %d" % number: 1.0 for number in range(5)} | {b"thread:\xff": 1.0}
    client_of(storage).zadd(wake, lines)

    assert [due.key for due in storage.list_due(5.0, 1)] == ["agent"]
    assert storage.vacuum(-1e9) == 0
    assert client_of(storage).zcard(wake) == 7


def test_strange_keys_are_not_listed(storage: Storage) -> None:
    """A line of the listing that is no key is passed over (rule 9)."""
    [listing] = _indexes(storage, ":checkpoints")
    client_of(storage).zadd(listing, {b"\xff": 0, b"": 0, b"x" * 600: 0})

    assert [record.key for record in storage.list_checkpoints()] == ["agent"]


@pytest.mark.parametrize("name", [":wake", ":checkpoints"])
def test_index_of_another_type(storage: Storage, name: str) -> None:
    """It is damage, told by an error of the tree (rule 8)."""
    [index] = _indexes(storage, name)
    client_of(storage).delete(index)
    client_of(storage).lpush(index, "x")

    with pytest.raises(CorruptRecordError, match="another type"):
        storage.list_due(5.0) if name == ":wake" else storage.list_checkpoints()
