"""The messages of a snapshot as entries of a thread, and what a save has to write of them.

Each entry carries a running digest of all messages up to it. So the newest digest alone, which
the record holds, tells whether a list of messages goes on from the stored ones.
"""

from __future__ import annotations

from hashlib import sha256
from json import JSONEncoder
from typing import TYPE_CHECKING, Any

from torpor.storage import Entry
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NOTHING", "digest_at", "digests", "entries_of"]

NOTHING = ""
"""The digest of no messages."""

_canonical = JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digests(before: str, messages: Sequence[dict[str, Any]]) -> list[str]:
    """Return the running digests: ``before`` any message, after the first, …, after all."""
    running = [before]
    for message in messages:
        text = running[-1] + _canonical.encode(message)
        running.append(sha256(text.encode()).hexdigest()[:32])
    return running


def digest_at(key: str, entry: Entry) -> str:
    """Return the digest of all messages up to ``entry``; ``CorruptRecordError`` if it has none."""
    found = entry.refs.get("digest")
    if not isinstance(found, str):
        raise CorruptRecordError(key, f"entry {entry.seq} is no message of a snapshot")
    return found


def entries_of(
    messages: Sequence[dict[str, Any]], after_each: Sequence[str], now: float
) -> tuple[Entry, ...]:
    """Return the entries that hold ``messages``, whose digests are ``after_each``."""
    return tuple(
        Entry(
            kind="message",
            payload=message,
            refs={"digest": digest},
            at=now,
            id=f"entry_{new_id()}",
        )
        for message, digest in zip(messages, after_each, strict=True)
    )
