"""Whose client of Redis is closed, and which are refused."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# redis-py leaves keyword arguments without a type

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis import Redis

from tests.storage.redis_kit import client_of
from torpor.storage.errors import ConfigurationError
from torpor.storage.redis import RedisStorage

if TYPE_CHECKING:
    from collections.abc import Iterator


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
