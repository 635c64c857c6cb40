"""What a Redis server keeps is told, and too little is warned of."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportPrivateUsage=false
# redis-py leaves keyword arguments without a type; what is looked at here is not public

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.servers.redis import ForgetfulRedis, PrivateRedis
from torpor.storage import open_storage
from torpor.storage.redis import RedisStorage
from torpor.storage.redis.durability import Durability
from torpor.storage.testing.kit import append, checkpoint, owned, payloads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torpor.storage.redis.durability import Keeps


@pytest.fixture(scope="module")
def server() -> Iterator[ForgetfulRedis]:
    """Return a server whose configuration a test may change."""
    with closing(ForgetfulRedis()) as server:
        yield server


SAFE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
}
"""With which nothing that was acknowledged is lost."""


@pytest.mark.parametrize(
    ("settings", "keeps", "warning"),
    [
        ({}, "each commit", None),
        ({"appendfsync": "everysec"}, "all but the last second", None),
        ({"appendfsync": "no"}, "all but the last half minute", None),
        ({"appendonly": "no", "save": "3600 1"}, "snapshots", "keeps snapshots only"),
        ({"appendonly": "no"}, "nothing", "keeps nothing"),
        ({"maxmemory-policy": "allkeys-lru"}, "each commit", None),
        (
            {"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"},
            "each commit",
            "removes keys by allkeys-lru",
        ),
    ],
    ids=str,
)
def test_each_configuration(
    server: ForgetfulRedis,
    caplog: pytest.LogCaptureFixture,
    settings: Mapping[str, str],
    keeps: Keeps,
    warning: str | None,
) -> None:
    """A server that loses what was acknowledged is warned of once, when it is opened (rule 3)."""
    with server.client as client:
        for name, value in (SAFE | dict(settings)).items():
            client.config_set(name, value)

    with open_storage(server.url) as storage:
        assert isinstance(storage, RedisStorage)
        storage.put_checkpoint("agent", 1)
        storage.get_checkpoint("agent")

    assert storage.durability.keeps == keeps
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == (0 if warning is None else 1)
    assert warning is None or warning in texts[0]


def test_server_that_does_not_tell(
    server: ForgetfulRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """Managed servers forbid such questions: then it is unknown, and no error (rule 3)."""
    with server.client as client:
        client.acl_setuser(
            "managed",
            enabled=True,
            passwords=["+word"],
            keys=["*"],
            commands=["+@all", "-config", "-info"],
        )

    url = server.url.replace("redis://", "redis://managed:word@")
    with RedisStorage.from_url(url) as storage:
        storage.put_checkpoint("agent", 1)

    assert storage.durability == Durability(
        appendonly=None, appendfsync=None, snapshots=None, maxmemory_policy=None, evicts=None
    )
    assert storage.durability.keeps == "unknown"
    assert caplog.records == []


def test_server_that_tells_a_part() -> None:
    """INFO alone says whether there is a log, and what goes when memory is full."""
    logging = Durability.of(
        {"aof_enabled": 1, "maxmemory": 5, "maxmemory_policy": "noeviction"}, {}
    )
    silent = Durability.of(
        {"aof_enabled": 0, "maxmemory": 5, "maxmemory_policy": "allkeys-lfu"}, {}
    )

    assert (logging.appendonly, logging.keeps, logging.evicts) == (True, "unknown", False)
    assert (silent.appendonly, silent.keeps, silent.evicts) == (False, "unknown", True)
    assert list(logging.warnings()) == []
    assert len(list(silent.warnings())) == 1


@pytest.mark.parametrize("stop", list(PrivateRedis.stops))
def test_commits_survive_the_server(stop: str) -> None:
    """With a log that is synced, all is there after a restart, however it ended (rule 3)."""
    with closing(PrivateRedis()) as server, RedisStorage.from_url(server.url) as storage:
        assert storage.durability.keeps == "each commit"
        storage.commit([owned("agent", "agent#1", "a", value=1, wake_at=5.0)])
        storage.commit([owned("agent", "agent#1", "b", value=2, wake_at=6.0)])
        storage.commit([append("log", "a")])
        before = checkpoint(storage, "agent")
        server.stop(stop)
        server.start()

        assert checkpoint(storage, "agent") == before
        assert payloads(storage.load_thread("agent#1")) == ["a", "b"]
        assert payloads(storage.load_thread("log")) == ["a"]
        assert [record.key for record in storage.list_checkpoints()] == ["agent"]
        assert [due.wake_at for due in storage.list_due(9.0)] == [6.0]
        assert storage.put_checkpoint("agent", 3, expected_rev=2) == 3
