"""What others did to the keys of a Redis store is told as damage, and left as it is."""

# pyright: reportPrivateUsage=false
# what is looked at here is not public

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.redis_kit import client_of, record_key
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import Record, Rejected, Saved, Space
from torpor.storage.testing.kit import checkpoint, owned, put

if TYPE_CHECKING:
    from torpor.storage.redis import RedisStorage


def test_other_types_under_its_keys(redis: RedisStorage) -> None:
    """A key that another program uses is told as damage, and left as it is (rule 10)."""
    client, name = client_of(redis), record_key(redis, Space.CHECKPOINTS, "agent")
    client.hset(name, "field", "value")

    before, outcome, after = redis.commit([put("before"), put("agent"), put("after")])

    assert isinstance(before, Saved)
    assert isinstance(after, Saved)
    assert isinstance(outcome, Rejected)
    assert isinstance(outcome.error, CorruptRecordError)
    with pytest.raises(CorruptRecordError, match="another type"):
        redis.get_checkpoint("agent")
    assert client.hgetall(name) == {b"field": b"value"}


def test_other_type_under_a_thread(redis: RedisStorage) -> None:
    """So is one under a thread's entries, and nothing of the change is written (rule 1)."""
    redis.commit([owned("agent", "agent#1", value="old")])
    client_of(redis).set(redis._layout.entries("agent#1"), "text")

    [outcome] = redis.commit([owned("agent", "agent#1", "entry", value="new")])

    assert isinstance(outcome, Rejected)
    assert checkpoint(redis, "agent").value == "old"
    with pytest.raises(CorruptRecordError, match="another type"):
        redis.read_entries("agent#1", 0, 1)


@pytest.mark.parametrize("value", [b"", b"{", b"\xff\xfe", b"[]", b"{}\n{}", b'{"format":2}\n{}'])
def test_broken_records_are_left_alone(redis: RedisStorage, value: bytes) -> None:
    """Whatever is there that is no record is an error and stays (rule 10, CP-12)."""
    client, name = client_of(redis), record_key(redis, Space.CHECKPOINTS, "agent")
    client.set(name, value)

    with pytest.raises(CorruptRecordError):
        redis.get_checkpoint("agent")
    for rev in (None, 0, 1):
        [outcome] = redis.commit([put("agent", "new", expected_rev=rev)])
        assert isinstance(outcome, Rejected)

    assert client.get(name) == value


@pytest.mark.parametrize(
    "fields",
    [{"x": "y"}, {"document": "{}", "checksum": "a"}, {"document": b"\xff", "checksum": 1}],
)
def test_broken_entries_are_told(redis: RedisStorage, fields: dict[Any, Any]) -> None:
    """An item of a stream that is no entry is an error where it is read (rule 10, TH-32)."""
    redis.commit([owned("agent", "agent#1", "a")])
    client, stream = client_of(redis), redis._layout.entries("agent#1")
    client.delete(stream)
    client.xadd(stream, fields, "0-1")

    with pytest.raises(CorruptRecordError):
        redis.load_thread("agent#1")
    [found] = redis.read(["agent"])
    assert not isinstance(found, Record)
