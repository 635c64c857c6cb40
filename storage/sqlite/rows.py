"""Records and entries as rows of the SQLite backend's tables, and back, if they are sound."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torpor.storage import codec
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import Record
from torpor.storage.sqlite.statements import FIELD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Entry

__all__ = [
    "as_json",
    "entry_of_text",
    "record_of_json",
    "record_of_row",
    "record_of_text",
    "row_of_entry",
    "row_of_record",
]

Row = tuple[Any, ...]


def as_json(value: Any) -> str:
    """Return a statement's parameter that stands for many."""
    return json.dumps(value, ensure_ascii=False)


def row_of_record(record: Record) -> Row:
    """Return the row of a record; ``ValueError`` or ``TypeError`` if it has none."""
    if record.wake_at is not None:
        if not math.isfinite(record.wake_at):
            msg = f"wake_at is {record.wake_at}"  # of which SQLite would make NULL
            raise ValueError(msg)
        record = replace(record, wake_at=record.wake_at + 0.0)  # SQLite turns -0.0 into 0.0
    head = codec.encode_head(record.thread)
    return (
        record.key,
        record.rev,
        record.change_id,
        int(record.deleted),
        record.kind,
        record.version,
        record.wake_at,
        record.updated_at,
        head,
        codec.record_checksum(record, head),
        record.data,
    )


def record_of_row(row: Sequence[Any]) -> Record:
    """Return the record of a row; ``CorruptRecordError`` unless it is as it was written."""
    key, rev, change_id, deleted, kind, version, wake_at, updated_at, head, checksum, data = row
    try:
        record = Record(
            key=key,
            rev=rev,
            change_id=change_id,
            updated_at=updated_at,
            deleted=deleted == 1,
            kind=kind,
            version=version,
            data=data,
            thread=codec.decode_head(head, key),
            wake_at=wake_at,
        )
        sound = (
            codec.record_checksum(record, head) == checksum
            and deleted in {0, 1}
            and isinstance(updated_at, float)
        )
    except (ValueError, TypeError) as error:
        raise CorruptRecordError(key, f"undecodable row: {error}") from error
    if not sound:
        raise CorruptRecordError(key, "the checksum does not fit")
    return record


def record_of_json(row: Sequence[Any]) -> Record:
    """Return the record of a row that came as JSON; else as ``record_of_row``."""
    *begin, wake_at, updated_at, head, checksum, data = row
    try:
        return record_of_row((*begin, _real(wake_at), _real(updated_at), head, checksum, data))
    except ValueError as error:
        raise CorruptRecordError(str(row[0]), f"undecodable row: {error}") from error


def record_of_text(text: str, keys: Sequence[str]) -> tuple[int, Record]:
    """Return an index in ``keys`` and the record of that key, of a row of ``read_records``."""
    try:
        place, rev, change_id, deleted, kind, version, *reals, head, checksum, data = text.split(
            FIELD
        )
        index = int(place)
        row = (
            keys[index],
            int(rev),
            change_id,
            int(deleted),
            kind,
            int(version),
            *map(_real, reals),
            head or None,
            int(checksum),
            data or None,
        )
        return index, record_of_row(row)
    except (ValueError, IndexError) as error:
        raise CorruptRecordError(text[:40], f"undecodable row: {error}") from error


def _real(quoted: str) -> float | None:
    return None if quoted == "NULL" else float(quoted)


def row_of_entry(thread_id: str, entry: Entry) -> Row:
    """Return the row of an entry; ``ValueError`` or ``TypeError`` if it has none."""
    document = codec.encode_entry(entry)
    checksum = codec.entry_checksum(thread_id, entry.seq, document)
    return thread_id, entry.seq, entry.kind, document, checksum


def entry_of_text(thread_id: str, row: str) -> Entry:
    """Return the entry of a row of ``read_entries``; ``CorruptRecordError`` if it is broken."""
    try:
        seq, checksum, document = row.split(FIELD, 2)
        sound = codec.entry_checksum(thread_id, int(seq), document) == int(checksum)
    except ValueError as error:
        raise CorruptRecordError(thread_id, f"undecodable entry: {error}") from error
    if not sound:
        raise CorruptRecordError(thread_id, f"the checksum of entry {seq} does not fit")
    return codec.decode_entry(document, int(seq), thread_id)
