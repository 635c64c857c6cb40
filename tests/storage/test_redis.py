"""How agents are kept in Redis: keys, documents, indexes."""

# pyright: reportUnknownVariableType=false, reportPrivateUsage=false
# redis-py leaves keyword arguments without a type; what is looked at here is not public

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from redis.crc import key_slot

from tests.storage.redis_kit import client_of, damage_record, keys_of, record_key
from torpor import Agent, Runtime
from torpor.storage import codec
from torpor.storage.records import Change, Record, Space
from torpor.storage.redis import RedisStorage
from torpor.storage.testing.kit import all_pages, append, owned, put

if TYPE_CHECKING:
    from redis.typing import ResponseT


class Counter(Agent):
    """Counts, and keeps what it counted."""

    count: int = 0

    def add(self) -> int:
        """Count one."""
        self.count += 1
        self.thread.append("added", self.count)
        return self.count


def test_documents_are_readable(redis: RedisStorage) -> None:
    """A record is two lines of JSON, the second as it was put; entries are a stream (rule 10)."""
    data = '{"b": 1.0,\n "a": "é\\u0000"}'
    change = owned("agent", "agent#1", {"n": 1})
    assert change.put is not None
    redis.commit([Change(key="agent", put=type(change.put)(data=data), thread=change.thread)])
    client = client_of(redis)

    value = client.get(record_key(redis, Space.CHECKPOINTS, "agent"))
    assert isinstance(value, bytes)
    header, _, line = value.partition(b"\n")
    record = json.loads(header)
    assert line.decode() == data
    assert (record["key"], record["rev"], record["thread"]["rev"]) == ("agent", 1, 1)
    [stored] = redis._read(Space.CHECKPOINTS, ["agent"])
    assert isinstance(stored, Record)
    assert record["checksum"] == codec.encode_record(stored)["checksum"]
    [(place, fields)] = items(client.xrange(redis._layout.entries("agent#1")))
    document = fields[b"document"].decode()
    assert place == b"0-1"
    assert json.loads(document)["payload"] == {"n": 1}
    assert int(fields[b"checksum"]) == codec.entry_checksum("agent#1", 0, document)


def items(found: ResponseT) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return what a stream holds."""
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    "key", ["agent", "a}b", "{a}", "}", "{}", "é#\N{GRINNING FACE}", "#", "a:b"]
)
def test_keys_of_an_agent_share_a_slot(redis: RedisStorage, key: str) -> None:
    """Record, thread and index lines of one agent are in one slot of Redis Cluster."""
    before = keys_of(redis)
    redis.commit([owned(key, f"{key}#1", 1, wake_at=5.0)])
    redis.commit([owned(key, f"{key}#2", 1)])
    redis.delete_checkpoint(key)
    redis.commit([owned(key, f"{key}#3", 1, wake_at=5.0)])

    made = keys_of(redis) - before
    slots = {key_slot(name) for name in made}
    assert {name.rpartition(b":")[2] for name in made} >= {b"checkpoints", b"wake"}
    assert len(made) == 4
    assert len(slots) == 1


def test_prefixes_keep_stores_apart(redis: RedisStorage, redis_url: str) -> None:
    """Two prefixes on one server are two stores (CP-8)."""
    with RedisStorage(redis_url.partition("?")[0], prefix="other") as other:
        redis.put_checkpoint("agent", 1, wake_at=1.0)
        redis.append_thread("log", {})

        assert other.get_checkpoint("agent") is None
        assert other.thread_head("log") is None
        assert len(other.list_checkpoints()) == 0
        assert list(other.list_due(9.0)) == []


def test_nothing_is_left_behind(redis: RedisStorage) -> None:
    """What is deleted and vacuumed leaves no key but the store's own (rule 4)."""
    redis.commit([owned("agent", "agent#1", 1, wake_at=5.0), append("log", 1, wake_at=6.0)])
    redis.delete_checkpoint("agent")
    redis.delete_thread("log")

    assert redis.vacuum(-60) == 2

    assert keys_of(redis) == {redis._layout.format}


def test_listing_of_many_keys_is_in_order(redis: RedisStorage) -> None:
    """All partitions make one order, whatever the size of a page (rule 9)."""
    keys = [f"{'ab'[number % 2]} {number:05}" for number in range(3000)]
    redis.commit([put(key) for key in keys])

    for limit in (7, 500, 5000):
        found = [record.key for record in all_pages(redis, Space.CHECKPOINTS, "b ", limit)]
        assert found == sorted(key for key in keys if key.startswith("b "))


def test_due_and_listed_from_one_partition(redis: RedisStorage) -> None:
    """However unequally the partitions share them, order and limit are right (rule 12)."""
    names = [f"log#{number:03}" for number in range(300)]  # all where the agent "log" is
    redis.commit([append(name, wake_at=float(name[4:])) for name in names])
    redis.commit([put(f"agent {number}", wake_at=250.5 + number) for number in range(300)])

    due = [item.key for item in redis.list_due(1e12, limit=252)]
    assert due == [*names[:251], "agent 0"]
    assert [record.key for record in all_pages(redis, Space.THREADS, "log#", 50)] == names


def test_tools_see_every_key(redis: RedisStorage) -> None:
    """Those of corrupt records too, and of deleted ones if asked for (W-36)."""
    keys = sorted(f"agent {number}" for number in range(1500))
    redis.commit([put(key, "text") for key in keys])
    redis.delete_checkpoint("agent 1")
    damage_record(redis, Space.CHECKPOINTS, "agent 2")
    redis.append_thread("agent 3", {})
    redis.delete_thread("agent 3")

    assert list(redis.all_keys(Space.CHECKPOINTS, tombstones=True)) == keys
    keys.remove("agent 1")
    assert list(redis.all_keys(Space.CHECKPOINTS)) == keys
    assert list(redis.all_keys(Space.THREADS, tombstones=True)) == ["agent 3"]
    assert list(redis.all_keys(Space.THREADS)) == []


def test_agents_on_redis(redis_url: str) -> None:
    """Agents count, hibernate, and go on in another runtime."""
    for first in (1, 3):
        with Runtime(redis_url, always_thaw=True) as runtime:
            counter = runtime.get(Counter, "é one")
            assert counter.ask(Counter.add) == first
            assert counter.ask(Counter.add) == first + 1
