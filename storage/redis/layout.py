"""Which keys a store has in Redis.

All begin with the store's prefix and, in braces, the partition of their agent. Redis Cluster
places a key by what stands in braces, so an agent's record, its thread and its lines in the
indexes are always on one server, and one script changes them all::

    torpor:{1f}:checkpoint:<agent key>   string: the record
    torpor:{1f}:thread:<thread id>       string: the head record of a standalone thread
    torpor:{1f}:entries:<thread id>      stream: entry ``seq`` has the id ``<seq>-1``
    torpor:{1f}:checkpoints              sorted set: the keys of live checkpoints
    torpor:{1f}:threads                  sorted set: the ids of live standalone threads
    torpor:{1f}:wake                     sorted set: live records by ``wake_at``
    torpor:{1f}:deleted                  sorted set: tombstones by ``updated_at``
    torpor:format                        string: the version of all this

The partition is the CRC-32 of the agent's key modulo 128, in hexadecimal. The last two sets name
a record ``checkpoint:<agent key>`` or ``thread:<thread id>``.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

from torpor.storage.errors import InvalidKeyError
from torpor.storage.keys import validate_key
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PARTITIONS", "Layout", "RecordKeys", "key_of"]

PARTITIONS = 128

_NAMES = {Space.CHECKPOINTS: b"checkpoint:", Space.THREADS: b"thread:"}
_SPACES = {name: space for space, name in _NAMES.items()}
_LISTINGS = {Space.CHECKPOINTS: b"checkpoints", Space.THREADS: b"threads"}
_WAKE = b"wake"
_DELETED = b"deleted"


class RecordKeys(NamedTuple):
    """Where a record is, and where and how it is called in the indexes."""

    record: bytes
    listing: bytes
    wake: bytes
    deleted: bytes
    key: bytes
    """Its line in the listing."""
    member: bytes
    """Its line in the others."""


def key_of(line: bytes) -> str | None:
    """Return the key that a line of an index names; None: nothing of Torpor's wrote it."""
    try:
        return validate_key(line.decode())
    except (UnicodeDecodeError, InvalidKeyError):
        return None


class Layout:
    """The keys of the store with one prefix."""

    def __init__(self, prefix: str) -> None:
        start = prefix.encode()
        self.format = start + b":format"
        self._tags = [b"%s:{%02x}:" % (start, number) for number in range(PARTITIONS)]

    def of(self, space: Space, key: str) -> RecordKeys:
        """Return all keys of a record but those of its thread."""
        tag, encoded = self._tag(space, key), key.encode()
        member = _NAMES[space] + encoded
        return RecordKeys(
            record=tag + member,
            listing=tag + _LISTINGS[space],
            wake=tag + _WAKE,
            deleted=tag + _DELETED,
            key=encoded,
            member=member,
        )

    def record(self, space: Space, key: str) -> bytes:
        """Return the key of a record."""
        return self._tag(space, key) + _NAMES[space] + key.encode()

    def entries(self, thread_id: str) -> bytes:
        """Return the key of a thread's entries."""
        return self._tag(Space.THREADS, thread_id) + b"entries:" + thread_id.encode()

    def listings(self, space: Space) -> Sequence[bytes]:
        """Return the key of each partition's listing."""
        return [tag + _LISTINGS[space] for tag in self._tags]

    def wakes(self) -> Sequence[bytes]:
        """Return the key of each partition's wake-up times."""
        return [tag + _WAKE for tag in self._tags]

    def tombstones(self) -> Sequence[bytes]:
        """Return the key of each partition's tombstones."""
        return [tag + _DELETED for tag in self._tags]

    @staticmethod
    def place(member: bytes) -> tuple[Space, str] | None:
        """Return the space and the key of the record that ``member`` is, None if it is none."""
        name, _, key = member.partition(b":")
        space, text = _SPACES.get(name + b":"), key_of(key)
        return None if space is None or text is None else (space, text)

    def _tag(self, space: Space, key: str) -> bytes:
        owner = key.rpartition("#")[0] if space is Space.THREADS else key
        return self._tags[zlib.crc32((owner or key).encode()) % PARTITIONS]
