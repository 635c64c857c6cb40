"""Agents and threads that expire in Redis: both at one moment, and then nothing is left."""

# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# redis-py leaves keyword arguments without a type; what is looked at here is not public

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.storage.redis_kit import client_of, keys_of, record_key
from torpor.storage.records import Saved, Space
from torpor.storage.redis import RedisStorage
from torpor.storage.testing.kit import PATIENCE, all_pages, append, owned, payloads

if TYPE_CHECKING:
    from redis import Redis


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
