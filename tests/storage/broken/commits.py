"""Storages whose commits are not whole, not compared, not once, or not in a batch."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.storage.broken.kit import Broken
from torpor.storage import Change, Conflict, Record, Saved, Space
from torpor.storage.records import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Outcome

__all__ = [
    "ChecksThenWrites",
    "ForgetsChanges",
    "GoesRowByRow",
    "LastWriterWins",
    "SpoilsTheBatch",
    "TakesTwoChangesOfAKey",
    "WritesInTwoSteps",
]


class WritesInTwoSteps(Broken):
    """Writes a record first and its entries a little later."""

    rule = 1

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return [self._write(change) for change in changes]

    def _write(self, change: Change) -> Outcome:
        if change.thread is not None and change.put is not None:
            bare = replace(change, id=new_id(), thread=replace(change.thread, entries=()))
            [outcome] = super()._commit([bare])
            if not isinstance(outcome, Saved):
                return outcome
            time.sleep(0.001)
            change = replace(change, expected_rev=None)
        [outcome] = super()._commit([change])
        return outcome


class LastWriterWins(Broken):
    """Compares no revisions."""

    rule = 2

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return super()._commit([replace(change, expected_rev=None) for change in changes])


class SpoilsTheBatch(Broken):
    """Lets one conflict take the whole batch with it."""

    rule = 2

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        found = {space: self._read(space, [change.key for change in changes]) for space in Space}
        revs = [
            0 if not isinstance(record, Record) or record.deleted else record.rev
            for record in (found[change.space][i] for i, change in enumerate(changes))
        ]
        if any(c.expected_rev not in {None, rev} for c, rev in zip(changes, revs, strict=True)):
            return [
                Conflict(c.key, c.expected_rev, rev) for c, rev in zip(changes, revs, strict=True)
            ]
        return super()._commit(changes)


class ForgetsChanges(Broken):
    """Takes every change for a new one."""

    rule = 3

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return super()._commit([replace(change, id=new_id()) for change in changes])


class ChecksThenWrites(Broken):
    """Compares the revision first, and writes when others may have."""

    rule = 13

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return [self._write(change) for change in changes]

    def _write(self, change: Change) -> Outcome:
        [stored] = self._read(change.space, [change.key])
        found = 0 if stored is None or stored.deleted else stored.rev
        if change.expected_rev not in {None, found}:
            return Conflict(change.key, change.expected_rev, found)
        time.sleep(0.001)
        [outcome] = super()._commit([replace(change, expected_rev=None)])
        return outcome


class TakesTwoChangesOfAKey(Broken):
    """Commits whatever a batch holds, one after the other."""

    rule = 11

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Commit one by one."""
        return [outcome for change in changes for outcome in super(Broken, self).commit([change])]


class GoesRowByRow(Broken):
    """Takes its lock for each row."""

    rule = 11

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for change in changes:
            outcomes += super()._commit([change])
        return outcomes
