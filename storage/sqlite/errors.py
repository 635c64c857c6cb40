"""What SQLite's errors mean."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from torpor.storage.errors import (
    CorruptRecordError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["primary_code", "translate"]

_TRANSIENT = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNDECODABLE = "Could not decode to UTF-8"  # the driver's own error, which has no code


def primary_code(error: sqlite3.Error) -> int | None:
    """Return SQLite's code of an error without its extension, None for the driver's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def translate(path: Path, error: sqlite3.Error) -> Exception:
    """Return what to raise for an error met at ``path``; ``sqlite3.DataError`` as it is."""
    code = primary_code(error)
    message = f"{path}: {error}"
    if isinstance(error, sqlite3.DataError):
        return error
    if code in _TRANSIENT:
        return StorageUnavailableError(message)
    if code == sqlite3.SQLITE_FULL:
        return StorageFullError(message)
    if code in _CORRUPT or _UNDECODABLE in message:
        return CorruptRecordError(str(path), str(error))
    return StorageError(message)
