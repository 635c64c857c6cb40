"""Batches that are written without reading anything first, by one statement alone.

A document in place of another, of a record without a thread that stands at the expected
revision, or a new record: nothing else has to be known. If one change of the batch turns out to
be another one, nothing is written, and the batch goes the way of all others.

A statement alone is its own transaction. Beside a thread that computes, each further one, and
``BEGIN`` and ``COMMIT`` are such, waits for the interpreter once more: 5 ms each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.storage.plan import plan_unread
from torpor.storage.records import Saved
from torpor.storage.rows import row_of_record
from torpor.storage.sqlite import statements as sql
from torpor.storage.sqlite.multirow import MAX_ROWS, padded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Change
    from torpor.storage.sqlite.file import DatabaseFile

__all__ = ["write_directly"]


def write_directly(
    file: DatabaseFile, changes: Sequence[Change], deadline: float
) -> list[Saved] | None:
    """Write ``changes`` and return their outcomes; None, and nothing written, if that can't be.

    Waits for other writers until ``deadline``.

    Raises what ``apply_changes`` does.
    """
    records = plan_unread(changes) if len(changes) <= MAX_ROWS else None
    if records is None:
        return None
    rows = [row_of_record(record) for record in records]
    if len(rows) == 1 and records[0].rev == 1:
        written = file.write_alone(sql.CREATE, rows[0], deadline)
    elif len(rows) == 1:
        written = file.write_alone(sql.REPLACE, sql.parameters_of_replace(rows[0]), deadline)
    else:
        size, parameters = padded(rows)
        written = file.write_alone(sql.create_or_replace(size), parameters, deadline)
    return [Saved(record.rev) for record in records] if written == len(rows) else None
