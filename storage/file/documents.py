"""The JSON documents of a file store, laid out for people to read.

A record document is that of ``codec.encode_record`` with one difference: ``data`` is text and
would stand there as one long escaped line. Where the compact JSON of its value is that very
text, as is the rule, the value stands in the document instead, under ``value``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torpor.storage import codec
from torpor.storage.errors import CorruptRecordError, UnserializableError
from torpor.storage.file.layout import hash_of

if TYPE_CHECKING:
    from torpor.storage.records import Record

__all__ = ["KEY_WITHIN", "OwnedThread", "decode", "encode", "encode_owned", "key_at_start"]

KEY_WITHIN = 4096
"""How many bytes at the start of a document surely hold its key."""

_KEY_AT_START = re.compile(rb'\{\s*"format": \d+,\s*"key": ("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class OwnedThread:
    """Stands in the place of a thread's head when the head lives in the record of ``owner``."""

    thread_id: str
    owner: str


def encode(record: Record) -> bytes:
    """Return the document of ``record``."""
    document = codec.encode_record(record)
    if record.data is not None:
        try:
            value = json.loads(record.data)
            if codec.dumps(value) == record.data:
                document["value"] = value
                del document["data"]
            return _readable(document)
        except (ValueError, RecursionError, UnserializableError):
            document.pop("value", None)
            document["data"] = record.data
    return _readable(document)


def encode_owned(thread: OwnedThread) -> bytes:
    """Return the document that says whose thread this is."""
    return _readable(
        {"format": codec.FORMAT_VERSION, "key": thread.thread_id, "owner": thread.owner}
    )


def decode(content: bytes, name: str, key: str | None = None) -> Record | OwnedThread:
    """Return what a document holds; ``CorruptRecordError`` unless it is sound and in its place.

    ``name`` is the hash under which it was found; ``key``, if known, is what errors name.
    """
    label = name if key is None else key
    try:
        document: dict[str, Any] = codec.loads(content.decode())
        found: str = document["key"]
        in_place = hash_of(found) == name
        if "value" in document:
            document["data"] = codec.dumps(document.pop("value"))
    except codec.UNDECODABLE as error:
        raise CorruptRecordError(label, f"undecodable document: {error}") from error
    if not in_place:
        raise CorruptRecordError(label, f"its place holds the document of {found!r}")
    if "owner" in document:
        return _owned(document, found)
    return codec.decode_record(document, found)


def _owned(document: dict[str, Any], thread_id: str) -> OwnedThread:
    """Return whose thread it is. It has no checksum, and needs none: its id says the same."""
    owner = document["owner"]
    whole = {"format": codec.FORMAT_VERSION, "key": thread_id, "owner": owner}
    if document != whole or not (isinstance(owner, str) and thread_id.startswith(f"{owner}#")):
        raise CorruptRecordError(thread_id, f"it does not belong to {owner!r}")
    return OwnedThread(thread_id, owner)


def key_at_start(start: bytes, name: str) -> str | None:
    """Return the key of a document from its first bytes, None unless it is in its place."""
    match = _KEY_AT_START.match(start)
    try:
        key = json.loads(match[1]) if match else None
        return key if key is not None and hash_of(key) == name else None
    except ValueError:
        return None


def _readable(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"
