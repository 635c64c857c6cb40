"""Storages that change threads, give them away, or read them all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.storage.broken.kit import Broken
from torpor.storage import Change, Record, Space, ThreadWrite
from torpor.storage.keys import validate_key
from torpor.storage.records import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Entry, Outcome

__all__ = [
    "LosesThePointer",
    "OwnsNoThreads",
    "RenamesEntries",
    "RereadsHistory",
    "TakesLaterMetadata",
]


class TakesLaterMetadata(Broken):
    """Lets every append replace a thread's metadata."""

    rule = 5

    def __init__(self) -> None:
        super().__init__()
        self._metadata: dict[str, object] = {}

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        for change in changes:
            if change.thread is not None and change.thread.metadata is not None:
                self._metadata[change.key] = change.thread.metadata
        return super()._commit(changes)

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        return [self._with_metadata(record) for record in super()._read(space, keys)]

    def _with_metadata(self, record: Record | None) -> Record | None:
        if record is None or record.thread is None or record.key not in self._metadata:
            return record
        head = replace(record.thread, metadata=json.loads(json.dumps(self._metadata[record.key])))
        return replace(record, thread=head)


class RenamesEntries(Broken):
    """Gives entries ids of its own."""

    rule = 5

    def _read_entries(self, *args: Any, **options: Any) -> Sequence[Entry]:
        entries = super()._read_entries(*args, **options)
        return [replace(entry, id=f"entry_{number}") for number, entry in enumerate(entries)]


class OwnsNoThreads(Broken):
    """Lets everybody write to an agent's thread."""

    rule = 6

    def _require_standalone(self, thread_id: str) -> None:
        validate_key(thread_id)


class LosesThePointer(Broken):
    """Takes the thread away from a record that is put without one."""

    rule = 6

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return super()._commit(
            [
                change
                if change.thread or change.put is None
                else replace(change, thread=ThreadWrite(id=f"{change.key}#{new_id()}"))
                for change in changes
            ]
        )


class RereadsHistory(Broken):
    """Reads a whole thread to append one entry to it."""

    rule = 7

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        for change in changes:
            if change.thread is not None:
                self._read_entries(change.thread.id, 0, 10**9, kinds=None, limit=None, newest=False)
        return super()._commit(changes)
