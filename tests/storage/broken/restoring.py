"""Storages that do not restore what they are told to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.storage.broken.kit import Broken
from torpor.storage import Change, Put, ThreadWrite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Outcome

__all__ = ["RestoresAnew", "RestoresOverEntries", "RestoresWithoutWakeUp"]


class RestoresAnew(Broken):
    """Takes what is restored for news: counts its revision on, at the time of the change."""

    rule = 14

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return super()._commit([self._as_put(change) for change in changes])

    def _as_put(self, change: Change) -> Change:
        if change.restore is None:
            return change
        record, head = change.restore.record, change.restore.record.thread
        return Change(
            key=change.key,
            space=change.space,
            expected_rev=change.expected_rev,
            put=None if record.data is None else Put(data=record.data, kind=record.kind),
            thread=ThreadWrite(id=head.id, entries=change.restore.entries) if head else None,
            wake_at=record.wake_at,
            at=change.at,
            id=change.id,
        )


class RestoresOverEntries(Broken):
    """Puts restored entries wherever they say, over others or behind a gap."""

    rule = 14

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        for change in changes:
            head = change.restore.record.thread if change.restore else None
            if head is not None and change.expected_rev is None:
                self._journals.pop(head.id, None)
                self._shelves[change.space].records.pop(change.key, None)
        return super()._commit(changes)


class RestoresWithoutWakeUp(Broken):
    """Forgets when a restored record has something to do."""

    rule = 14

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return super()._commit(
            [
                change
                if change.restore is None
                else replace(
                    change,
                    restore=replace(
                        change.restore, record=replace(change.restore.record, wake_at=None)
                    ),
                )
                for change in changes
            ]
        )
