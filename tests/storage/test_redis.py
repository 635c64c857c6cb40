"""How agents are kept in Redis: keys, documents, scripts, round trips, clients, expiry."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportPrivateUsage=false
# redis-py leaves keyword arguments without a type; what is looked at here is not public

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from redis.crc import key_slot

from tests.storage.redis_kit import client_of, damage_record, keys_of, record_key
from torpor import Agent, Runtime
from torpor.storage import codec
from torpor.storage.errors import ConfigurationError, CorruptRecordError
from torpor.storage.records import Change, Conflict, Record, Rejected, Saved, Space, ThreadWrite
from torpor.storage.redis import RedisStorage
from torpor.storage.testing.counting import sends
from torpor.storage.testing.kit import (
    PATIENCE,
    all_pages,
    append,
    checkpoint,
    entries_of,
    head_of,
    owned,
    payloads,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.typing import ResponseT


class Counter(Agent):
    """Counts, and keeps what it counted."""

    count: int = 0

    def add(self) -> int:
        """Count one."""
        self.count += 1
        self.thread.append("added", self.count)
        return self.count


# -- what is stored -------------------------------------------------------------------------------


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


# -- scripts and round trips ----------------------------------------------------------------------


def test_forgotten_scripts_are_sent_again(redis: RedisStorage) -> None:
    """A server that was started anew does not know the scripts; nobody notices (rule 3)."""
    redis.put_checkpoint("agent", 1)
    client_of(redis).script_flush()

    outcomes = redis.commit([put("agent", 2, expected_rev=1), append("log", 1)])

    assert [type(outcome) for outcome in outcomes] == [Saved, Saved]
    assert checkpoint(redis, "agent").rev == 2


def test_batch_is_one_round_trip(redis: RedisStorage) -> None:
    """100 agents, fresh or known, are saved in one round trip and read in two (rule 11)."""
    keys = [f"agent {number}" for number in range(100)]
    fresh = [owned(key, f"{key}#1", 1, expected_rev=0) for key in keys]
    known = [owned(key, f"{key}#1", 2, value="x" * 1000, expected_rev=1) for key in keys]

    assert sends(lambda: redis.commit(fresh)) == 1
    assert sends(lambda: redis.commit(known)) == 1
    assert sends(lambda: redis.read(keys)) == 2
    assert checkpoint(redis, keys[-1]).rev == 2


def test_unknown_records_cost_one_round_trip_more(redis: RedisStorage, redis_url: str) -> None:
    """What another process wrote is read first, and not again for the next change (rule 11)."""
    with RedisStorage.from_url(redis_url) as other:
        other.commit([put(key, 1) for key in "abc"])

    assert sends(lambda: redis.commit([put(key, 2) for key in "abc"])) == 2
    assert sends(lambda: redis.commit([put(key, 3) for key in "abc"])) == 1


def test_record_that_another_process_wrote(redis: RedisStorage, redis_url: str) -> None:
    """What is believed of a record gives way to what is stored (rule 2, rule 13)."""
    redis.commit([owned("agent", "agent#1", "a", value=1)])
    with RedisStorage.from_url(redis_url) as other:
        other.commit([owned("agent", "agent#1", "b", value=2)])

    [stale] = redis.commit([put("agent", "lost", expected_rev=1)])
    [saved] = redis.commit([owned("agent", "agent#1", "c", value=3)])

    assert stale == Conflict("agent", 1, 2)
    assert saved == Saved(3, head_of(redis, "agent#1"))
    assert payloads(redis.load_thread("agent#1")) == ["a", "b", "c"]


def test_append_does_not_touch_history(redis: RedisStorage) -> None:
    """A change with an entry sends that entry, whatever the length of the thread (rule 7)."""
    redis.commit([owned("agent", "agent#1", *range(5000))])
    client_of(redis).config_resetstat()

    redis.commit([owned("agent", "agent#1", "new")])

    stats = client_of(redis).info("commandstats")
    assert isinstance(stats, dict)

    assert stats["cmdstat_xadd"]["calls"] == 1
    assert not {"cmdstat_xrange", "cmdstat_xrevrange", "cmdstat_get"} & stats.keys()


def test_known_records_are_few(redis: RedisStorage) -> None:
    """What is believed of records takes no more memory than was set aside for it."""
    redis._known._capacity = 10

    redis.commit([put(f"agent {number}") for number in range(100)])

    assert len(redis._known._records) == 10


# -- clients --------------------------------------------------------------------------------------


@pytest.fixture
def client(redis: RedisStorage) -> Iterator[Redis]:
    """Return a client of a user's own, of the same server."""
    port = client_of(redis).get_connection_kwargs()["port"]
    with Redis(port=port) as client:
        yield client


def test_client_of_the_user_stays_open(client: Redis) -> None:
    """A client that was passed in is the user's."""
    with RedisStorage(client, prefix="mine") as storage:
        storage.put_checkpoint("agent", 1)
        connections = client.connection_pool

    assert connections is client.connection_pool
    assert client.ping()


def test_own_client_is_closed(redis_url: str, client: Redis) -> None:
    """What the storage opened it closes."""
    before = len(client.client_list())
    with RedisStorage.from_url(redis_url) as storage:
        storage.put_checkpoint("agent", 1)
        assert len(client.client_list()) > before

    assert len(client.client_list()) == before


def test_decoding_client_is_refused(client: Redis) -> None:
    """A client that decodes could not tell of broken bytes."""
    options = client.get_connection_kwargs()
    with (
        Redis(port=options["port"], decode_responses=True) as decoding,
        pytest.raises(ConfigurationError, match="decode_responses=False"),
    ):
        RedisStorage(decoding)


def test_something_else_is_no_client() -> None:
    """What is neither URL nor client is told apart at once."""
    with pytest.raises(ConfigurationError, match=r"redis\.Redis"):
        RedisStorage(object())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] # on purpose


# -- expiry ---------------------------------------------------------------------------------------


def test_agent_and_thread_expire_together(redis_url: str) -> None:
    """Each change renews both moments, which are always the same (W-22)."""
    with RedisStorage.from_url(f"{redis_url}&ttl=1000") as storage:
        client, names = (
            client_of(storage),
            [
                record_key(storage, Space.CHECKPOINTS, "agent"),
                storage._layout.entries("agent#1"),
            ],
        )
        storage.commit([owned("agent", "agent#1", 1)])
        first = moments(client, names)
        for name in names:
            client.pexpire(name, 5_000)
        storage.put_checkpoint("agent", "no entries this time")
        second = moments(client, names)

    assert first[0] == first[1] <= 1_000_000
    assert second[0] == second[1] > 5_000


def test_each_change_renews_the_moment_of_an_agent_without_a_thread(redis_url: str) -> None:
    """The first one, and those that replace its data."""
    with RedisStorage.from_url(f"{redis_url}&ttl=1000") as storage:
        client, name = client_of(storage), record_key(storage, Space.CHECKPOINTS, "agent")
        for data in ("first", "second", "third"):
            storage.put_checkpoint("agent", data)
            [moment] = moments(client, [name])
            assert 5_000 < moment <= 1_000_000
            client.pexpire(name, 5_000)


def moments(client: Redis, names: list[bytes]) -> list[int]:
    """Return the milliseconds after which keys expire, all told at one moment."""
    with client.pipeline(transaction=True) as pipeline:
        for name in names:
            pipeline.pttl(name)
        return pipeline.execute()


def test_expired_agent_is_gone(redis_url: str) -> None:
    """Nothing is read, listed or due any more, and its key starts again (rule 4)."""
    with RedisStorage.from_url(f"{redis_url}&ttl=0.2") as storage:
        storage.commit([owned("agent", "agent#1", "old", wake_at=1.0), append("log", "old")])
        await_end(storage, Space.CHECKPOINTS, "agent")
        await_end(storage, Space.THREADS, "log")

        assert storage.get_checkpoint("agent") is None
        assert storage.load_thread("agent#1") is None
        assert storage.load_thread("log") is None
        assert all_pages(storage, Space.CHECKPOINTS) == []
        assert all_pages(storage, Space.THREADS) == []
        assert list(storage.list_due(9.0)) == []
        assert keys_of(storage) == {storage._layout.format}
        [outcome] = storage.commit([owned("agent", "agent#1", "new")])
        assert isinstance(outcome, Saved)
        assert outcome.rev == 1
        assert payloads(storage.load_thread("agent#1")) == ["new"]


def test_expired_tombstones_are_vacuumed(redis_url: str) -> None:
    """A tombstone that expired leaves its line in the index to the vacuum (rule 4)."""
    with RedisStorage.from_url(f"{redis_url}&ttl=0.05") as storage:
        storage.put_checkpoint("agent", 1)
        storage.delete_checkpoint("agent")
        await_end(storage, Space.CHECKPOINTS, "agent")

        assert storage.vacuum(-60) == 0

        assert keys_of(storage) == {storage._layout.format}


def test_without_ttl_both_stay(redis: RedisStorage, redis_url: str) -> None:
    """A storage without expiry takes it from what it changes, of the thread too (W-22)."""
    with RedisStorage.from_url(f"{redis_url}&ttl=1000") as storage:
        storage.commit([owned("agent", "agent#1", 1)])

    redis.put_checkpoint("agent", 2)

    client = client_of(redis)
    assert client.pttl(record_key(redis, Space.CHECKPOINTS, "agent")) == -1
    assert client.pttl(redis._layout.entries("agent#1")) == -1


def await_end(storage: RedisStorage, space: Space, key: str) -> None:
    """Wait until a record has expired."""
    waiting, client = threading.Event(), client_of(storage)
    for _ in range(int(PATIENCE / 0.01)):
        if not client.exists(record_key(storage, space, key)):
            return
        waiting.wait(0.01)
    pytest.fail(f"{key} did not expire")


# -- what others did to it ------------------------------------------------------------------------


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


def test_too_many_entries_at_once(redis: RedisStorage) -> None:
    """A change that has more arguments than a command may have is refused by itself (rule 2)."""
    write = ThreadWrite(id="huge#1", entries=entries_of([1]) * 500_001)

    small, outcome = redis.commit([put("small"), put("huge", thread=write)])

    assert isinstance(small, Saved)
    assert isinstance(outcome, Rejected)
    assert redis.get_checkpoint("huge") is None


def test_agents_on_redis(redis_url: str) -> None:
    """Agents count, hibernate, and go on in another runtime."""
    for first in (1, 3):
        with Runtime(redis_url, always_thaw=True) as runtime:
            counter = runtime.get(Counter, "é one")
            assert counter.ask(Counter.add) == first
            assert counter.ask(Counter.add) == first + 1
