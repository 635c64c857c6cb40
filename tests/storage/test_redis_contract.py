"""Redis, Valkey and Redis Cluster keep the contract."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from redis.cluster import RedisCluster

from tests.places.contract import PlaceContract
from tests.places.redis import RedisPlace
from tests.servers.redis import ForgetfulCluster, ForgetfulValkey
from tests.storage.redis_kit import damage_entry, damage_record, sever
from torpor.storage import open_storage
from torpor.storage.records import Change, Space
from torpor.storage.redis import RedisStorage
from torpor.storage.testing.counting import sends
from torpor.storage.testing.kit import all_pages, owned, payloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage


class RedisContract(PlaceContract):
    """In a server that speaks as Redis does."""

    def count_steps(self, storage: Storage, work: Callable[[], object]) -> int:  # noqa: ARG002
        """Count round trips."""
        return sends(work)

    def damage_record(self, storage: Storage, space: Space, key: str) -> None:
        """Change what only a checksum tells."""
        damage_record(storage, space, key)

    def damage_entry(self, storage: Storage, thread_id: str, seq: int) -> None:
        """Change a letter of the document."""
        damage_entry(storage, thread_id, seq)

    def sever(self, storage: Storage) -> None:
        """Look for the server where it is not."""
        sever(storage)


class TestRedis(RedisContract):
    """In Redis."""

    backend = "redis"


@pytest.fixture(scope="module")
def valkey() -> Iterator[RedisPlace]:
    """Return a Valkey server."""
    with closing(RedisPlace(ForgetfulValkey)) as place:
        yield place


class TestValkey(RedisContract):
    """In Valkey."""

    @pytest.fixture
    def storage(self, valkey: RedisPlace) -> Iterator[Storage]:
        """Return a storage in Valkey."""
        self.url = valkey.empty()
        with open_storage(self.url) as storage:
            yield storage


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisPlace]:
    """Return a Redis Cluster of one server."""
    with closing(RedisPlace(ForgetfulCluster)) as place:
        yield place


class ClusterStorage(RedisStorage):
    """A storage in a Redis Cluster that closes its client."""

    def __init__(self, url: str) -> None:
        address, _, prefix = url.partition("?prefix=")
        self._client: Any = RedisCluster.from_url(address)
        super().__init__(self._client, prefix=prefix)

    def _close(self) -> None:
        for node in self._client.get_nodes():
            node.redis_connection.connection_pool.disconnect()


def test_cluster(cluster: RedisPlace) -> None:
    """Changes of any kind, batches and listings work there, by either client (rule 11)."""
    url = cluster.empty()
    keys = [f"agent {number}" for number in range(20)]
    for make in (ClusterStorage, open_storage):
        with make(url) as storage:
            storage.commit([owned(key, f"{key}#1", 1, wake_at=1.0) for key in keys])
            storage.commit([owned(key, f"{key}#2", 2) for key in keys[:10]])
            storage.commit([Change(key=key, delete=True) for key in keys[:5]])
            storage.append_thread("agent 7#log", {"payload": 1})

            listed = [record.key for record in all_pages(storage, Space.CHECKPOINTS, limit=7)]
            assert listed == sorted(keys[5:])
            assert sorted(due.key for due in storage.list_due(1.0)) == sorted(keys[10:])
            assert payloads(storage.load_thread("agent 7#2"))[-1] == 2
            assert storage.vacuum(-60) == 5


@pytest.mark.slow
class TestCluster(RedisContract):
    """In a Redis Cluster."""

    damageable = False
    severable = False

    @pytest.fixture
    def storage(self, cluster: RedisPlace) -> Iterator[Storage]:
        """Return a storage in a Redis Cluster."""
        self.url = cluster.empty()
        with ClusterStorage(self.url) as storage:
            yield storage

    def opener(self, storage: Storage) -> Callable[[], Storage]:  # noqa: ARG002 - there is one
        """Open the same store."""
        return partial(ClusterStorage, self.url)
