"""The documents that the MongoDB backend stores, and records and entries made of them again.

In ``<prefix>checkpoints`` and ``<prefix>threads``, one document each::

    _id           the key
    rev, change_id, deleted, kind, version, wake_at, updated_at
                  as in ``Record``; wake_at only where there is one
    thread        the thread's head as JSON text, null if there is none
    data          the state as JSON text, byte for byte as it was put
    checksum      ``codec.record_checksum``
    etag          new with every writing of this document, whatever it changes
    incarnation   the etag by which the thread began, so that its entries are told from those of
                  an earlier thread with the same id
    state         the same as data, decoded, to be queried; Torpor itself never reads it

``state`` costs about as much room again, before the server's compression. It is left out where
BSON can't hold it (numbers beyond 64 bits, nesting deeper than 80, names that begin with ``$`` or
contain NUL) and where the document would become too large with it.

In ``<prefix>entries``::

    _id           thread id, NUL, seq in decimal digits
    thread, seq, kind
                  the place, to be queried; a unique place, as ``_id`` is unique
    document      the entry as JSON text, byte for byte
    checksum      ``codec.entry_checksum``
    etag          the record's etag with which this entry became visible, or would have
    incarnation   that of its thread
    written_at    seconds since the epoch by the writer's clock
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import bson
from bson.errors import BSONError
from bson.int64 import Int64

from torpor.storage import codec
from torpor.storage.errors import CorruptRecordError, RecordTooLargeError
from torpor.storage.records import Entry, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ENCODING_ERRORS",
    "STORED",
    "EntryDocument",
    "Stored",
    "decode_entry",
    "decode_record",
    "encode_entries",
    "encode_record",
    "entry_id",
    "seq_of",
]

ENCODING_ERRORS = (BSONError, TypeError, ValueError, OverflowError, RecursionError)
"""What the making of a document may raise that has no form in BSON."""

STORED = {"state": False}
"""What is read of a record's document: all but the copy for queries."""

_DEEPEST_STATE = 80  # MongoDB stores 100 levels, of which the document itself takes some
_ALWAYS_FITS = 1024 * 1024  # bytes of JSON; in BSON it is at most about seven times as much


@dataclass(frozen=True, slots=True)
class Stored:
    """A record and what the backend knows of its document."""

    record: Record
    etag: str
    incarnation: str | None


@dataclass(frozen=True, slots=True)
class EntryDocument:
    """An entry on its way to its place, encoded."""

    id: str
    bson: bytes


def entry_id(thread_id: str, seq: int) -> str:
    """Return the ``_id`` of an entry; no key contains NUL, so no two places share one."""
    return f"{thread_id}\0{seq}"


def encode_record(
    record: Record, *, etag: str, incarnation: str | None, queryable: bool, limit: int
) -> bytes:
    """Return the BSON document of ``record``.

    Raises ``RecordTooLargeError`` above ``limit`` bytes, and one of ``ENCODING_ERRORS``.
    """
    if record.wake_at is not None:
        record = replace(record, wake_at=float(record.wake_at))
    head = codec.encode_head(record.thread)
    document: dict[str, Any] = {
        "_id": record.key,
        "rev": Int64(record.rev),
        "etag": etag,
        "change_id": record.change_id,
        "deleted": record.deleted,
        "kind": record.kind,
        "version": Int64(record.version),
        "updated_at": float(record.updated_at),
        "thread": head,
        "incarnation": incarnation,
        "checksum": Int64(codec.record_checksum(record, head)),
        "data": record.data,
    }
    if record.wake_at is not None:
        document["wake_at"] = record.wake_at
    if queryable and record.data is not None:
        encoded = _with_state(document, record.data, limit)
        if encoded is not None:
            return encoded
    return _within(limit, record.key, bson.encode(document))


def decode_record(document: Mapping[str, Any]) -> Stored | CorruptRecordError:
    """Return what ``document`` holds, or the error that says why it can't be trusted."""
    key = str(document["_id"])
    try:
        rev, version, found = document["rev"], document["version"], document["checksum"]
        head = document["thread"]
        record = Record(
            key=key,
            rev=int(rev),
            change_id=document["change_id"],
            updated_at=document["updated_at"],
            deleted=document["deleted"],
            kind=document["kind"],
            version=int(version),
            data=document["data"],
            thread=codec.decode_head(head, key),
            wake_at=document.get("wake_at"),
        )
        stored = Stored(record, document["etag"], document["incarnation"])
        sound = (
            all(type(number) in {int, Int64} for number in (rev, version, found))
            and type(record.deleted) is bool
            and type(record.updated_at) is float
            and type(record.wake_at) in {float, type(None)}
            and type(stored.etag) is str
            and type(stored.incarnation) in {str, type(None)}
            and codec.is_sound(record)
            and found == codec.record_checksum(record, head)
        )
    except CorruptRecordError as error:
        return error
    except codec.UNDECODABLE as error:
        return _caused(CorruptRecordError(key, f"undecodable document: {error!r}"), error)
    return stored if sound else CorruptRecordError(key, "the checksum does not fit")


def encode_entries(  # noqa: PLR0913 - keywords: one of each
    key: str,
    thread_id: str,
    entries: Sequence[Entry],
    *,
    etag: str,
    incarnation: str | None,
    written_at: float,
    limit: int,
) -> list[EntryDocument]:
    """Return the documents of ``entries``, whose ``seq`` is set; raises as ``encode_record``."""
    documents: list[EntryDocument] = []
    for entry in entries:
        place = entry_id(thread_id, entry.seq)
        text = codec.encode_entry(entry)
        document = {
            "_id": place,
            "thread": thread_id,
            "seq": Int64(entry.seq),
            "kind": entry.kind,
            "document": text,
            "checksum": Int64(codec.entry_checksum(thread_id, entry.seq, text)),
            "etag": etag,
            "incarnation": incarnation,
            "written_at": written_at,
        }
        documents.append(EntryDocument(place, _within(limit, key, bson.encode(document))))
    return documents


def seq_of(document: Mapping[str, Any]) -> int:
    """Return the place of an entry in its thread; none that there is, if that is no number."""
    seq: Any = document.get("seq")
    return int(seq) if type(seq) in {int, Int64} else -1


def decode_entry(document: Mapping[str, Any], thread_id: str, seq: int) -> Entry:
    """Return the entry at a place; ``CorruptRecordError`` unless ``document`` holds it whole."""
    text: Any = document.get("document")
    try:
        sound = document.get("checksum") == codec.entry_checksum(thread_id, seq, text)
    except codec.UNDECODABLE:
        sound = False
    if not sound:
        raise CorruptRecordError(thread_id, f"the checksum of entry {seq} does not fit")
    return codec.decode_entry(text, seq, thread_id)


def _with_state(document: dict[str, Any], data: str, limit: int) -> bytes | None:
    """Return the encoded document with its state, None if it can't have one."""
    try:
        state = json.loads(data)
        suspicious = '"$' in data or data.count("{") + data.count("[") > _DEEPEST_STATE
        if suspicious and not _is_storable(state, _DEEPEST_STATE):
            return None
        encoded = bson.encode({**document, "state": state})
    except ENCODING_ERRORS:
        return None
    return encoded if len(data) < _ALWAYS_FITS or len(encoded) <= limit else None


def _is_storable(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value)
        return depth > 0 and all(
            not name.startswith("$") and _is_storable(item, depth - 1)
            for name, item in pairs.items()
        )
    if isinstance(value, list):
        items = cast("list[Any]", value)  # type: ignore[redundant-cast] # pyright needs it
        return depth > 0 and all(_is_storable(item, depth - 1) for item in items)
    return True


def _within(limit: int, key: str, encoded: bytes) -> bytes:
    if len(encoded) > limit:
        raise RecordTooLargeError(key, size=len(encoded), limit=limit)
    return encoded


def _caused(error: CorruptRecordError, cause: Exception) -> CorruptRecordError:
    error.__cause__ = cause
    return error
