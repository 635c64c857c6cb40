"""The storage key of an agent: ``kind/key``, or ``kind@partition/key``.

Kinds are plain words; ``%``, ``/`` and ``@`` of a partition are percent-encoded; the key stands
as it is after the first ``/``. So two agents never share an address, and those of one kind and
partition share a prefix.
"""

from __future__ import annotations

import hashlib
import re

from torpor.storage.errors import InvalidKeyError
from torpor.storage.keys import MAX_KEY_BYTES, validate_key

__all__ = ["address_of", "prefix_of", "side_key", "split_address", "validate_kind"]

_KIND = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_ESCAPES = {"%": "%25", "/": "%2F", "@": "%40"}


def validate_kind(kind: str) -> str:
    """Return ``kind`` if it can be one, else raise ``InvalidKeyError``."""
    if not _KIND.fullmatch(kind):
        msg = f"a kind is lower-case letters, digits, '_', '.' and '-', not {kind!r}"
        raise InvalidKeyError(msg)
    return kind


def prefix_of(kind: str, partition: str | None) -> str:
    """Return what the addresses of one kind and partition begin with."""
    if partition is None:
        return f"{kind}/"
    validate_key(partition)
    return f"{kind}@{re.sub('[%/@]', lambda m: _ESCAPES[m[0]], partition)}/"


def address_of(kind: str, partition: str | None, key: str) -> str:
    """Return an agent's address; ``InvalidKeyError`` if it would not be a storage key."""
    validate_key(key)
    return validate_key(prefix_of(kind, partition) + key, MAX_KEY_BYTES)


def split_address(address: str) -> tuple[str, str | None, str]:
    """Return (kind, partition, key) of an address."""
    place, _, key = address.partition("/")
    kind, mark, partition = place.partition("@")
    if not mark:
        return kind, None, key
    for plain, escape in reversed(_ESCAPES.items()):
        partition = partition.replace(escape, plain)
    return kind, partition, key


def side_key(place: str, address: str) -> str:
    """Return the key, beside those of agents, of what the runtime keeps for an agent.

    An address too long to have one stands there by its hash: what is stored names it too.
    """
    key = f"${place}/{address}"
    if len(key.encode()) <= MAX_KEY_BYTES:
        return key
    return f"${place}/#{hashlib.sha256(address.encode()).hexdigest()}"
