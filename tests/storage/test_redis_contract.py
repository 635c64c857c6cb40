"""Redis, Valkey and Redis Cluster keep the contract."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from redis.cluster import RedisCluster

from tests.places.contract import PlaceContract
from tests.places.redis import RedisPlace
from tests.servers.redis import ForgetfulCluster, ForgetfulValkey
from tests.storage.redis_kit import damage_entry, damage_record, sever
from torpor.storage import open_storage
from torpor.storage.redis import RedisStorage
from torpor.storage.testing.counting import sends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage
    from torpor.storage.records import Space


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
        self._client = RedisCluster.from_url(address)
        super().__init__(self._client, prefix=prefix)

    def _close(self) -> None:
        self._client.close()


class TestCluster(RedisContract):
    """In a Redis Cluster, whose client asks the server where each script's keys are."""

    few_steps = False
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
