"""A batch of changes as one transaction of few statements."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from torpor.storage.errors import CorruptRecordError
from torpor.storage.plan import Write, plan
from torpor.storage.records import Record, Rejected, Space
from torpor.storage.rows import record_of_row, row_of_entry, row_of_record
from torpor.storage.sqlite import statements as sql
from torpor.storage.sqlite.multirow import insert
from torpor.storage.sqlite.rows import as_json, record_of_json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from torpor.storage.records import Change, Outcome

__all__ = ["apply_changes"]

_WHOLE_THREAD = 2**63 - 1


def apply_changes(connection: sqlite3.Connection, changes: Sequence[Change]) -> list[Outcome]:
    """Decide and write ``changes`` in the open transaction; return their outcomes.

    Raises ``ValueError``, ``TypeError``, ``OverflowError``, ``RecursionError`` or
    ``sqlite3.DataError`` if one of them has no form to write.
    """
    outcomes: list[Outcome] = []
    records: dict[Space, list[tuple[Any, ...]]] = {}
    entries: list[tuple[Any, ...]] = []
    removed: list[tuple[str, int]] = []
    for change, stored in zip(changes, _stored(connection, changes), strict=True):
        if isinstance(stored, CorruptRecordError):
            outcomes.append(Rejected(stored))
            continue
        decision = plan(change, stored)
        if not isinstance(decision, Write):
            outcomes.append(decision)
            continue
        outcomes.append(decision.outcome)
        records.setdefault(change.space, []).append(row_of_record(decision.record))
        head = decision.record.thread
        if head is not None:
            entries += (row_of_entry(head.id, entry) for entry in decision.entries)
            if decision.trim_before is not None:
                removed.append((head.id, decision.trim_before))
        if decision.drop_thread is not None:
            removed.append((decision.drop_thread, _WHOLE_THREAD))
    for space, rows in records.items():
        insert(connection, partial(sql.upsert, space), rows)
    if entries:
        insert(connection, sql.insert_entries, entries)
    if removed:
        connection.execute(sql.DELETE_ENTRIES, (as_json(removed),))
    return outcomes


def _stored(
    connection: sqlite3.Connection, changes: Sequence[Change]
) -> list[Record | CorruptRecordError | None]:
    """Return what ``plan`` needs to know of each change's record."""
    if len(changes) == 1:
        return [_stored_one(connection, changes[0])]
    stored: list[Record | CorruptRecordError | None] = [None] * len(changes)
    for space in Space:
        places = [i for i, change in enumerate(changes) if change.space is space]
        if places:
            keys = as_json([changes[i].key for i in places])
            [found] = connection.execute(sql.read_revisions(space), (keys,)).fetchone()
            rows: list[list[Any]] = json.loads(found)
            for index, *row in rows:
                i = places[int(index)]
                try:
                    stored[i] = _revision(row, record_of_json)
                except CorruptRecordError:
                    stored[i] = _stored_one(connection, changes[i])
    return stored


def _stored_one(
    connection: sqlite3.Connection, change: Change
) -> Record | CorruptRecordError | None:
    row = connection.execute(sql.read_revision(change.space), (change.key,)).fetchone()
    try:
        return None if row is None else _revision(row, record_of_row)
    except CorruptRecordError as error:
        return error


def _revision(row: Sequence[Any], record_of: Callable[[Sequence[Any]], Record]) -> Record:
    key, rev, change_id, deleted, *_, head, _, _ = row
    if head is not None:
        return record_of(row)
    if type(rev) is not int:
        raise CorruptRecordError(key, f"its revision is {rev!r}")
    return Record(key=key, rev=rev, change_id=change_id, updated_at=0.0, deleted=deleted == 1)
