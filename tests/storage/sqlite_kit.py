"""What the tests of SQLite storage share."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.storage.sqlite.file import DatabaseFile

if TYPE_CHECKING:
    import os

    from torpor.storage.sqlite import SQLiteStorage

__all__ = ["big", "limit_values", "open_file"]


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
