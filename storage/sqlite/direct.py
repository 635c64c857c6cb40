"""Batches that are written without reading anything first: half the work of most commits.

A document in place of another, of a record without a thread that stands at the expected
revision, or a new record: nothing else has to be known. If one change of the batch turns out to
be another one, nothing is written here, and the batch goes the way of all others.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from torpor.storage.plan import plan_unread
from torpor.storage.records import Saved
from torpor.storage.rows import row_of_record
from torpor.storage.sqlite import statements as sql

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from torpor.storage.records import Change

__all__ = ["insert", "write_directly"]


def write_directly(connection: sqlite3.Connection, changes: Sequence[Change]) -> list[Saved] | None:
    """Write ``changes`` in the open transaction; None, and nothing written, if that can't be."""
    records = plan_unread(changes)
    if records is None:
        return None
    created = [row_of_record(record) for record in records if record.rev == 1]
    replaced = [row_of_record(record) for record in records if record.rev > 1]
    if len(changes) > 1:
        connection.execute("SAVEPOINT direct")
    written = insert(connection, sql.create, created)
    if written == len(created):
        written += insert(connection, sql.replace, replaced)
    if written == len(changes):
        return [Saved(record.rev) for record in records]
    if len(changes) > 1:
        connection.execute("ROLLBACK TO direct")
    return None


def insert(
    connection: sqlite3.Connection,
    statement: Callable[[int], str],
    rows: Sequence[tuple[Any, ...]],
) -> int:
    """Run a multi-row ``statement`` on ``rows``; return how many it has written."""
    if len(rows) == 1:
        return connection.execute(statement(1), rows[0]).rowcount
    written = 0
    for begin in range(0, len(rows), sql.MAX_ROWS):
        some = rows[begin : begin + sql.MAX_ROWS]
        size = sql.padded(len(some))
        parameters = list(chain.from_iterable(some))
        parameters += [None] * ((size - len(some)) * len(some[0]))
        written += connection.execute(statement(size), parameters).rowcount
    return written
