"""What SQLite returns in one row for many, as records and entries, if they are sound."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from torpor.storage import codec
from torpor.storage.errors import CorruptRecordError
from torpor.storage.rows import record_of_row
from torpor.storage.sqlite.statements import FIELD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Entry, Record

__all__ = ["as_json", "entry_of_text", "record_of_json", "record_of_text"]


def as_json(value: Any) -> str:
    """Return a statement's parameter that stands for many."""
    return json.dumps(value, ensure_ascii=False)


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
