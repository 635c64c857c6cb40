"""What tests do to Redis behind a storage's back."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportPrivateUsage=false
# redis-py leaves keyword arguments without a type; what is looked at here is not public

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import Redis

from torpor.storage.records import Space
from torpor.storage.redis import RedisStorage

if TYPE_CHECKING:
    from torpor.storage import Storage

__all__ = [
    "client_of",
    "damage_entry",
    "damage_record",
    "keys_of",
    "record_key",
    "sever",
]


def client_of(storage: Storage) -> Redis:
    """Return the client that a storage has made for itself."""
    assert isinstance(storage, RedisStorage)
    client = storage._server._client
    assert isinstance(client, Redis)
    return client


def record_key(storage: Storage, space: Space, key: str) -> bytes:
    """Return where a record is."""
    assert isinstance(storage, RedisStorage)
    return storage._layout.record(space, key)


def damage_record(storage: Storage, space: Space, key: str) -> None:
    """Add a space to a checkpoint's data, or a digit to a thread's revision."""
    client, place = client_of(storage), record_key(storage, space, key)
    value = client.get(place)
    assert isinstance(value, bytes)
    damaged = value + b" " if space is Space.CHECKPOINTS else value.replace(b'"rev":1', b'"rev":11')
    assert damaged != value
    client.set(place, damaged)


def damage_entry(storage: Storage, thread_id: str, seq: int) -> None:
    """Change a letter of the document; a stream has to be made anew for that."""
    assert isinstance(storage, RedisStorage)
    client, stream = client_of(storage), storage._layout.entries(thread_id)
    items: Any = client.xrange(stream)
    client.delete(stream)
    for place, fields in items:
        if place == b"%d-1" % seq:
            assert b"entry" in fields[b"document"]
            fields[b"document"] = fields[b"document"].replace(b"entry", b"Entry")
        client.xadd(stream, fields, place)


def sever(storage: Storage) -> None:
    """Let the storage look for its server where nobody listens."""
    pool = client_of(storage).connection_pool
    pool.connection_kwargs["port"] = 1
    pool.disconnect()
    pool.reset()


def keys_of(storage: RedisStorage) -> set[bytes]:
    """Return every key in the server that begins with the store's prefix."""
    prefix = storage._layout.format.rpartition(b":")[0]
    return {key for key in client_of(storage).scan_iter(count=1000) if key.startswith(prefix)}
