"""How often Redis is asked: scripts, batches, and what is known of records without asking."""

# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# redis-py leaves keyword arguments without a type; what is looked at here is not public

from __future__ import annotations

from tests.storage.redis_kit import client_of
from torpor.storage.records import Conflict, Saved
from torpor.storage.redis import RedisStorage
from torpor.storage.testing.counting import sends
from torpor.storage.testing.kit import append, checkpoint, head_of, owned, payloads, put


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
