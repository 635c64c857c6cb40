"""Records and entries in the form in which Redis has them.

A record is one or two lines: a JSON object with all but the data, and, if there is data, the data
as it was put. An entry is a JSON object beside its checksum. ``torpor.storage.codec`` tells how
the checksums are made.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from torpor.storage import codec
from torpor.storage.errors import CorruptRecordError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.storage.records import Entry, Record

__all__ = ["Stored", "decode_entry", "decode_record", "encode_entry", "encode_record", "entry_id"]

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Stored(NamedTuple):
    """A record as it is stored: ``header`` is its first line, and in no two writes the same."""

    header: bytes
    record: Record


def encode_record(record: Record) -> tuple[bytes, bytes]:
    """Return the header of a record, and all of it.

    Raises ``TypeError``, ``ValueError`` or ``RecursionError`` if it has no such form.
    """
    document = codec.encode_record(record)
    data = document.pop("data")
    line = _encode(document)
    if data is None:
        header = line.encode()
        return header, header
    header = f"{line}\n".encode()
    return header, header + data.encode()


def decode_record(value: bytes, key: str) -> Stored:
    """Return the record of ``value``; ``CorruptRecordError`` if it is none of ``key``'s."""
    line, newline, data = value.partition(b"\n")
    try:
        document = codec.loads(line.decode())
        document["data"] = data.decode() if newline else None
    except codec.UNDECODABLE as error:
        raise CorruptRecordError(key, f"undecodable record: {error}") from error
    return Stored(line + newline, codec.decode_record(document, key))


def encode_entry(thread_id: str, entry: Entry) -> tuple[int, bytes]:
    """Return the checksum and the document of an entry; raises as ``encode_record`` does."""
    document = codec.encode_entry(entry)
    return codec.entry_checksum(thread_id, entry.seq, document), document.encode()


def decode_entry(thread_id: str, item: tuple[bytes, Mapping[bytes, bytes]]) -> Entry:
    """Return the entry of a stream's item; ``CorruptRecordError`` if it is none."""
    place, fields = item
    try:
        seq = int(place.partition(b"-")[0])
        document = fields[b"document"].decode()
        sound = codec.entry_checksum(thread_id, seq, document) == int(fields[b"checksum"])
    except codec.UNDECODABLE as error:
        raise CorruptRecordError(thread_id, f"undecodable entry: {error!r}") from error
    if not sound:
        raise CorruptRecordError(thread_id, f"the checksum of entry {seq} does not fit")
    return codec.decode_entry(document, seq, thread_id)


def entry_id(item: tuple[bytes, Mapping[bytes, bytes]]) -> str:
    """Return the id in an entry's document; none that any entry has, if it is broken."""
    try:
        document: Any = codec.loads(item[1][b"document"].decode())
        return str(document["id"])
    except codec.UNDECODABLE:
        return ""
