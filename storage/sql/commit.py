"""A batch of changes as one transaction of few statements.

Records are locked in the order of their keys, then written in it, so that two batches never
wait for each other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torpor.storage.errors import CorruptRecordError
from torpor.storage.plan import Write, plan
from torpor.storage.records import Record, Rejected, Space
from torpor.storage.rows import record_of_row, row_of_entry, row_of_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from torpor.storage.records import Change, Outcome
    from torpor.storage.sql.statements import Row, Statements

__all__ = ["apply_changes", "row_of"]

_WHOLE_THREAD = 2**63 - 1

_Stored = Record | CorruptRecordError | None


def apply_changes(
    connection: Connection, statements: Statements, changes: Sequence[Change]
) -> list[Outcome]:
    """Decide and write ``changes`` in the open transaction; return their outcomes.

    Raises ``ValueError``, ``TypeError``, ``OverflowError``, ``RecursionError`` or what the
    driver raises if one of them has no form to write.
    """
    statements.begin(connection)
    stored = _stored(connection, statements, changes)
    batch = _Batch()
    outcomes = [batch.decide(change, stored.get((change.space, change.key))) for change in changes]
    batch.write(connection, statements)
    return outcomes


class _Batch:
    """What the changes of one transaction write."""

    def __init__(self) -> None:
        self._new: dict[Space, list[Row]] = {space: [] for space in Space}
        self._changed: dict[Space, list[Row]] = {space: [] for space in Space}
        self._entries: list[Row] = []
        self._removed: list[tuple[str, int]] = []

    def decide(self, change: Change, stored: _Stored) -> Outcome:
        if isinstance(stored, CorruptRecordError):
            return Rejected(stored)
        decision = plan(change, stored)
        if not isinstance(decision, Write):
            return decision
        rows = self._new if stored is None else self._changed
        rows[change.space].append(row_of(decision.record))
        head = decision.record.thread
        if head is not None:
            self._entries += (row_of_entry(head.id, entry) for entry in decision.entries)
            if decision.trim_before is not None:
                self._removed.append((head.id, decision.trim_before))
        if decision.drop_thread is not None:
            self._removed.append((decision.drop_thread, _WHOLE_THREAD))
        return decision.outcome

    def write(self, connection: Connection, statements: Statements) -> None:
        for space in Space:
            if rows := self._new[space]:
                statements.insert_records(connection, space, sorted(rows))
            if rows := self._changed[space]:
                statements.update_records(connection, space, sorted(rows))
        if self._entries:
            statements.write_entries(connection, self._entries)
        if self._removed:
            statements.delete_entries(connection, self._removed)


def row_of(record: Record) -> Row:
    """Return a record's row; ``ValueError`` or ``TypeError`` if it has none."""
    if record.wake_at is not None:
        # As all databases store it: a real number, of zeros the positive one.
        record = replace(record, wake_at=float(record.wake_at) + 0.0)
    if type(record.updated_at) is not float:
        record = replace(record, updated_at=float(record.updated_at))
    return row_of_record(record)


def _stored(
    connection: Connection, statements: Statements, changes: Sequence[Change]
) -> dict[tuple[Space, str], _Stored]:
    stored: dict[tuple[Space, str], _Stored] = {}
    for space in Space:
        keys = sorted(change.key for change in changes if change.space is space)
        if keys:
            for row in statements.read_revisions(connection, space, keys):
                stored[space, row[0]] = _revision(row)
    return stored


def _revision(row: Sequence[Any]) -> Record | CorruptRecordError:
    key, rev, change_id, deleted, *_, head, _, _ = row
    if head is None:
        if type(rev) is not int:  # SQLite takes anything
            return CorruptRecordError(key, f"its revision is {rev!r}")
        return Record(key=key, rev=rev, change_id=change_id, updated_at=0.0, deleted=deleted == 1)
    try:
        return record_of_row(row)
    except CorruptRecordError as error:
        return error
