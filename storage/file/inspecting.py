"""Finding damage in a file store that no listing shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.storage.errors import CorruptRecordError
from torpor.storage.file.due import DueHint
from torpor.storage.inspection import Finding
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage.file.due import DueIndex
    from torpor.storage.file.layout import Layout
    from torpor.storage.file.records import RecordReader

__all__ = ["inspect_store"]


def inspect_store(layout: Layout, records: RecordReader, due: DueIndex) -> Iterator[Finding]:
    """Yield the documents that do not even tell their key, and wake-ups that are not indexed.

    What a crash leaves behind is no damage: ``vacuum`` removes it.
    """
    layout.require_store()
    for space in Space:
        for name in layout.names(space):
            yield from _inspect_document(layout, records, due, space, name)


def _inspect_document(
    layout: Layout, records: RecordReader, due: DueIndex, space: Space, name: str
) -> Iterator[Finding]:
    try:
        record = records.record(space, name)
        hint = DueHint.of(record, space, name)
        if hint is None or due.has(hint) or records.record(space, name) != record:
            return
    except CorruptRecordError as error:
        if records.key(space, name) is None:
            yield Finding("record", str(layout.record(space, name)), error.detail)
        return
    if record is not None:
        yield Finding("wake-up", record.key, f"nothing wakes it at {record.wake_at}")
