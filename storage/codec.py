"""The JSON forms of what is stored, and their checksums.

A checksum is the CRC-32 (zlib's) of a record's or entry's parts in UTF-8, each followed by a
line feed. Every backend stores it beside the document and verifies it at each read.

A checksum that fits proves no good will: other programs can make one too. So what is decoded is
of the types that it should have, and its numbers are such that one can calculate with them.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import zlib
from typing import Any, NoReturn, cast

from torpor.storage.errors import CorruptRecordError, UnserializableError
from torpor.storage.records import Entry, Record, ThreadHead

__all__ = [
    "UNDECODABLE",
    "checksum",
    "decode_entry",
    "decode_head",
    "decode_record",
    "dumps",
    "encode_entry",
    "encode_head",
    "encode_record",
    "entry_checksum",
    "is_sound",
    "loads",
    "record_checksum",
    "require_storable",
    "require_types",
]

FORMAT_VERSION = 1

UNDECODABLE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What taking apart a document may raise that is not what it should be."""

_LARGEST = sys.float_info.max
_MOST_ENTRIES = 2**63  # what databases count to
_FIELDS = {field.name for field in dataclasses.fields(Record)}

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is no number of JSON's"
    raise ValueError(msg)


_decoder = json.JSONDecoder(parse_constant=_no_constant)


def loads(text: str) -> Any:
    """Return the value of JSON text; one of ``UNDECODABLE`` for anything else.

    Stricter than Python's: without ``NaN``, ``Infinity`` and halves of characters, for which
    there would be no way back into a storage.
    """
    value: Any = _decoder.decode(text)
    if "\\ud" in text or "\\uD" in text:
        _encoder.encode(value).encode()
    return value


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
    require_types(entry)
    dumps([entry.payload, entry.refs, entry.kind, entry.id, entry.at], "the entry")


def require_types(entry: Entry) -> None:
    """Raise ``UnserializableError`` for an entry that nobody would take for one, were it stored."""
    fields = cast("Any", entry)
    if not (isinstance(fields.kind, str) and isinstance(fields.id, str)):
        msg = f"kind and id of an entry are text, not {entry.kind!r} and {entry.id!r}"
        raise UnserializableError(msg)
    if not isinstance(fields.refs, dict):
        msg = f"the refs of an entry are a dict, not {entry.refs!r}"
        raise UnserializableError(msg)
    number = isinstance(fields.at, int | float) and not isinstance(fields.at, bool)
    if not (number and -_LARGEST <= entry.at <= _LARGEST):
        msg = f"an entry's at is a time in seconds, not {entry.at!r}"
        raise UnserializableError(msg)


def checksum(*parts: str) -> int:
    """Return the CRC-32 of ``parts`` as described at the top of this module."""
    return zlib.crc32(("\n".join(parts) + "\n").encode())


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
        return _head_of(loads(text))
    except UNDECODABLE as error:
        raise CorruptRecordError(key, f"undecodable thread head: {error}") from error


def _head_of(fields: dict[str, Any]) -> ThreadHead:
    head = ThreadHead(**fields)
    sound = (
        type(head.id) is str
        and type(head.rev) is int
        and type(head.start) is int
        and 0 <= head.rev < _MOST_ENTRIES
        and 0 <= head.start < _MOST_ENTRIES
        and (head.last is None or type(head.last) is str)
        and _is_time(head.created_at)
        and _is_time(head.updated_at)
        and type(head.metadata) is dict
    )
    if not sound:
        msg = "a field is of another type, or beyond all bounds"
        raise ValueError(msg)
    return head


def _is_time(value: Any) -> bool:
    if type(value) is float:
        return value - value == 0.0  # no infinity, no NaN
    return type(value) is int and -_LARGEST <= value <= _LARGEST


def is_sound(record: Record) -> bool:
    """Return whether a record whose checksum fits can be one: "7" would pass for 7."""
    return (
        type(record.rev) is int
        and type(record.version) is int
        and (type(record.data) is str or record.data is None)
        and (
            record.deleted is False
            or (record.deleted is True and record.data is None and record.thread is None)
        )
        and _is_time(record.updated_at)
        and (record.wake_at is None or _is_time(record.wake_at))
    )


def encode_entry(entry: Entry) -> str:
    """Return the JSON form of an entry, without its ``seq`` (that is its place)."""
    require_types(entry)
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
        entry = Entry(seq=seq, **loads(text))
    except UNDECODABLE as error:
        raise CorruptRecordError(thread_id, f"undecodable entry {seq}: {error}") from error
    if not (
        type(entry.kind) is str
        and type(entry.id) is str
        and type(entry.refs) is dict
        and _is_time(entry.at)
    ):
        raise CorruptRecordError(thread_id, f"entry {seq} is none: a field is of another type")
    return entry


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
            fields["thread"] = _head_of(fields["thread"])
        record = Record(**fields)
        sound = (
            record.key == key
            and fields.keys() == _FIELDS
            and is_sound(record)
            and found == record_checksum(record, encode_head(record.thread))
        )
    except UNDECODABLE as error:
        raise CorruptRecordError(key, f"undecodable document: {error}") from error
    if not sound:
        raise CorruptRecordError(key, "the checksum does not fit")
    return record
