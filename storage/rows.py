"""Records and entries as rows of tables, those of every SQL database, and back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torpor.storage import codec
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Entry

__all__ = ["record_of_row", "row_of_entry", "row_of_record"]

Row = tuple[Any, ...]


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
            codec.is_sound(record)
            and codec.record_checksum(record, head) == checksum
            and deleted in {0, 1}
            and type(updated_at) is float
        )
    except codec.UNDECODABLE as error:
        raise CorruptRecordError(key, f"undecodable row: {error}") from error
    if not sound:
        raise CorruptRecordError(key, "the checksum does not fit")
    return record


def row_of_entry(thread_id: str, entry: Entry) -> Row:
    """Return the row of an entry; ``ValueError`` or ``TypeError`` if it has none."""
    document = codec.encode_entry(entry)
    checksum = codec.entry_checksum(thread_id, entry.seq, document)
    return thread_id, entry.seq, entry.kind, document, checksum
