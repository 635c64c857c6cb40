"""What the tests of SQLite storage share."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.sqlite.file import DatabaseFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from torpor.storage import Storage

__all__ = ["big", "connection_of", "count_instructions", "count_steps", "limit_values", "open_file"]


def open_file(path: str | os.PathLike[str], **options: Any) -> DatabaseFile:
    """Open the file below a storage, with its default options."""
    defaults: dict[str, Any] = {
        "synchronous": "full",
        "busy_timeout": 5.0,
        "page_size": 8192,
        "max_bytes": None,
    }
    return DatabaseFile(Path(path), **{**defaults, **options})


def big(number: int) -> str:
    """Return a document of 10 KB."""
    return f"{number} " * (10_000 // len(f"{number} "))


def limit_values(storage: SQLiteStorage, size: int) -> None:
    """Make SQLite refuse values over ``size`` bytes, as it does over 1 GB.

    That counts for one connection: the one that a thread which is alone always gets.
    """
    storage._file.write(  # pyright: ignore[reportPrivateUsage] - what no option is for
        lambda connection: connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, size)
    )


def count_steps(connection: sqlite3.Connection, work: Callable[[], object]) -> int:
    """Return how often ``work`` lets go of the interpreter: for each statement and each row."""
    steps = 0

    def note(_: str) -> None:
        nonlocal steps
        steps += 1

    def note_row(_: sqlite3.Cursor, row: Any) -> Any:
        nonlocal steps
        steps += 1
        return row

    connection.set_trace_callback(note)
    connection.row_factory = note_row
    try:
        work()
    finally:
        connection.set_trace_callback(None)
        connection.row_factory = None
    return steps


def count_instructions(connection: sqlite3.Connection, work: Callable[[], object]) -> int:
    """Return how many instructions of SQLite's virtual machine ``work`` takes."""
    instructions = 0

    def note() -> None:
        nonlocal instructions
        instructions += 1

    connection.set_progress_handler(note, 1)
    try:
        work()
    finally:
        connection.set_progress_handler(None, 1)
    return instructions


def connection_of(storage: Storage) -> sqlite3.Connection:
    """Return the connection that a thread which is alone always gets."""
    assert isinstance(storage, SQLiteStorage)
    [connection] = storage._file._idle  # pyright: ignore[reportPrivateUsage] - no user may have it
    return connection
