"""Storages that lose tombstones, mistake keys, or change what they were given."""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tests.storage.broken.kit import Broken
from torpor.storage import Change, Record, Saved, Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Outcome

__all__ = [
    "FoldsCase",
    "ForgetsDeletedKeys",
    "ReformatsDocuments",
    "SkipsEqualPuts",
    "TakesPrefixForPattern",
    "VacuumsTooMuch",
]

FOR_EVER = float("inf")


class ForgetsDeletedKeys(Broken):
    """Leaves no tombstone."""

    rule = 4

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = super()._commit(changes)
        self._vacuum(FOR_EVER)
        return outcomes


class SkipsEqualPuts(Broken):
    """Gives a put of equal data the old revision."""

    rule = 4

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return [self._write(change) for change in changes]

    def _write(self, change: Change) -> Outcome:
        [stored] = self._read(change.space, [change.key])
        if isinstance(stored, Record) and change.put and stored.data == change.put.data:
            return Saved(stored.rev, stored.thread)
        [outcome] = super()._commit([change])
        return outcome


class VacuumsTooMuch(Broken):
    """Removes young tombstones too."""

    rule = 4

    def _vacuum(self, before: float) -> int:
        del before
        return super()._vacuum(FOR_EVER)


class FoldsCase(Broken):
    """Takes keys that differ in letter case for one."""

    rule = 9

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        return super()._read(space, [key.lower() for key in keys])

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return [
            outcome
            for change in changes
            for outcome in super(FoldsCase, self)._commit([replace(change, key=change.key.lower())])
        ]


class TakesPrefixForPattern(Broken):
    """Gives characters of a prefix a meaning of their own."""

    rule = 9

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        records = super()._list(space, "", after, 10**6)
        return [record for record in records if fnmatchcase(record.key, f"{prefix}*")][:limit]


class ReformatsDocuments(Broken):
    """Stores what the JSON means, not what it is."""

    rule = 10

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        return [
            replace(record, data=json.dumps(json.loads(record.data), sort_keys=True))
            if record is not None and record.data is not None
            else record
            for record in super()._read(space, keys)
        ]
