"""Batches that one statement decides and writes, in one round trip instead of four.

Documents in place of others, of records without a thread that all stand at the expected
revisions: nothing else has to be known. If one of them turns out to be another one, nothing is
written here, and the batch goes the way of all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torpor.storage.records import Record, Saved, Space
from torpor.storage.rows import row_of_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Change

__all__ = ["replacements"]

Row = tuple[Any, ...]


def replacements(changes: Sequence[Change]) -> tuple[list[Row], list[Saved]] | None:
    """Return the rows to write and the outcomes if they all were; None if that can't be.

    Raises ``ValueError`` or ``TypeError`` if one of them has no form to write.
    """
    rows: list[Row] = []
    outcomes: list[Saved] = []
    for change in changes:
        put, rev = change.put, change.expected_rev
        bare = change.thread is None and change.restore is None
        if put is None or not rev or not bare or change.space is not Space.CHECKPOINTS:
            return None
        record = Record(
            key=change.key,
            rev=rev + 1,
            change_id=change.id,
            updated_at=float(change.at),
            kind=put.kind,
            version=put.version,
            data=put.data,
            wake_at=None if change.wake_at is None else float(change.wake_at) + 0.0,
        )
        rows.append(row_of_record(record))
        outcomes.append(Saved(rev + 1))
    return rows, outcomes
