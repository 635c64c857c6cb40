"""The JSON forms of what is stored, and their checksums.

A checksum is the CRC-32 (zlib's) of a record's or entry's parts in UTF-8, each followed by a
line feed. Every backend stores it beside the document and verifies it at each read.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, cast

from torpor.storage.errors import CorruptRecordError, UnserializableError
from torpor.storage.records import Entry, Record, ThreadHead

__all__ = [
    "checksum",
    "decode_entry",
    "decode_head",
    "decode_record",
    "dumps",
    "encode_entry",
    "encode_head",
    "encode_record",
    "entry_checksum",
    "record_checksum",
    "require_storable",
]

FORMAT_VERSION = 1

# Of fields that the checksum does not see as they are: "7" would pass for 7.
_FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "rev": (int,),
    "version": (int,),
    "deleted": (bool,),
    "updated_at": (int, float),
    "wake_at": (int, float, type(None)),
    "data": (str, type(None)),
}

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dumps(value: Any, what: str = "value") -> str:
    """Return compact JSON of plain Python data.

    Tuples become arrays. Anything else without a JSON form (bytes, sets, NaN, objects, keys
    that are not text, lone surrogates) is an ``UnserializableError`` that names ``what``.
    """
    try:
        _require_text_keys(value)
        text = _encoder.encode(value)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"{what} has no JSON form: {error}"
        raise UnserializableError(msg) from error
    return text


def _require_text_keys(value: Any) -> None:
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value)  # type: ignore[redundant-cast] # pyright needs it
        for key, item in pairs.items():
            if not isinstance(key, str):
                msg = f"the key {key!r} is not text"
                raise TypeError(msg)
            _require_text_keys(item)
    elif isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        for item in items:
            _require_text_keys(item)


def require_storable(entry: Entry) -> None:
    """Raise ``UnserializableError`` unless ``entry`` can be stored and read back the same."""
    if not all(isinstance(text, str) for text in cast("list[object]", [entry.kind, entry.id])):
        msg = f"kind and id of an entry are text, not {entry.kind!r} and {entry.id!r}"
        raise UnserializableError(msg)
    dumps([entry.payload, entry.refs, entry.kind, entry.id, entry.at], "the entry")


def checksum(*parts: str) -> int:
    """Return the CRC-32 of ``parts`` as described at the top of this module."""
    return zlib.crc32(("\n".join(parts) + "\n").encode("utf-8", "surrogateescape"))


def record_checksum(record: Record, head: str | None) -> int:
    """Return the checksum of ``record``, whose thread head has the JSON form ``head``."""
    return checksum(
        record.key,
        str(record.rev),
        record.change_id,
        "1" if record.deleted else "0",
        record.kind,
        str(record.version),
        repr(None if record.wake_at is None else float(record.wake_at)),
        head or "",
        record.data or "",
    )


def entry_checksum(thread_id: str, seq: int, document: str) -> int:
    """Return the checksum of an entry's JSON form at its place."""
    return checksum(thread_id, str(seq), document)


def encode_head(head: ThreadHead | None) -> str | None:
    """Return the JSON form of a thread head."""
    if head is None:
        return None
    return _encoder.encode(
        {
            "id": head.id,
            "rev": head.rev,
            "start": head.start,
            "last": head.last,
            "created_at": head.created_at,
            "updated_at": head.updated_at,
            "metadata": head.metadata,
        }
    )


def decode_head(text: str | None, key: str) -> ThreadHead | None:
    """Return the thread head of ``text``; ``CorruptRecordError`` if it is none."""
    if text is None:
        return None
    try:
        return ThreadHead(**json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptRecordError(key, f"undecodable thread head: {error}") from error


def encode_entry(entry: Entry) -> str:
    """Return the JSON form of an entry, without its ``seq`` (that is its place)."""
    return _encoder.encode(
        {
            "id": entry.id,
            "kind": entry.kind,
            "at": entry.at,
            "payload": entry.payload,
            "refs": entry.refs,
        }
    )


def decode_entry(text: str, seq: int, thread_id: str) -> Entry:
    """Return the entry of ``text``; ``CorruptRecordError`` if it is none."""
    try:
        return Entry(seq=seq, **json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptRecordError(thread_id, f"undecodable entry {seq}: {error}") from error


def encode_record(record: Record) -> dict[str, Any]:
    """Return ``record`` as one JSON document, checksum included, for document stores.

    ``data`` stays text inside it, so that it is byte for byte what was put.
    """
    head = encode_head(record.thread)
    return {
        "format": FORMAT_VERSION,
        "key": record.key,
        "rev": record.rev,
        "change_id": record.change_id,
        "updated_at": record.updated_at,
        "deleted": record.deleted,
        "kind": record.kind,
        "version": record.version,
        "data": record.data,
        "thread": None if head is None else json.loads(head),
        "wake_at": record.wake_at,
        "checksum": record_checksum(record, head),
    }


def decode_record(document: Any, key: str) -> Record:
    """Return the record of ``document``; ``CorruptRecordError`` unless it is ``key``'s, whole."""
    try:
        fields = dict(document)
        found = fields.pop("checksum")
        if fields.pop("format") != FORMAT_VERSION:
            raise CorruptRecordError(key, "unknown document format")
        if fields["thread"] is not None:
            fields["thread"] = ThreadHead(**fields["thread"])
        record = Record(**fields)
        sound = (
            record.key == key
            and all(isinstance(fields[name], types) for name, types in _FIELD_TYPES.items())
            and found == record_checksum(record, encode_head(record.thread))
        )
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptRecordError(key, f"undecodable document: {error}") from error
    if not sound:
        raise CorruptRecordError(key, "the checksum does not fit")
    return record
