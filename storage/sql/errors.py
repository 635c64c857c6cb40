"""What the errors of SQL databases mean, in one table.

A code is PostgreSQL's five letters, or the first two of them for a whole class (appendix A of
its manual), MySQL's and MariaDB's number, or ``sqlite`` and SQLite's primary result code.
"""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

from sqlalchemy import exc

from torpor.storage.errors import (
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from torpor.storage.meanings import Meaning

if TYPE_CHECKING:
    from torpor.storage.errors import TorporError

__all__ = ["RaceLostError", "UnstorableError", "is_lost_race", "translate"]


class RaceLostError(StorageUnavailableError):
    """The transaction met another one and was rolled back. Done again, it will decide anew."""


class UnstorableError(StorageError):
    """One of the changes of a batch has no form that this database takes."""


_RACE = Meaning(RaceLostError, "met another transaction")
_UNSTORABLE = Meaning(UnstorableError, "the database does not take it")
_LIMIT = Meaning(UnstorableError, "it is larger than the database takes")
_TOO_SLOW = Meaning(StorageUnavailableError, "a lock or a statement took too long")
_LOST = Meaning(StorageUnavailableError, "the server cannot be reached, or hung up")
_BUSY = Meaning(StorageUnavailableError, "the server takes no more connections")
_READ_ONLY = Meaning(StorageUnavailableError, "the database can only be read now")
_FULL = Meaning(StorageFullError, "no space is left on the server")
_REFUSED = Meaning(StorageError, "user or password is wrong, or may not do this", permanent=True)
_NO_DATABASE = Meaning(StorageError, "there is no such database or schema", permanent=True)
_NO_TABLE = Meaning(StorageError, "a table is missing, or is not Torpor's", permanent=True)

_UNKNOWN = Meaning(StorageError, "the database could not do it")

_MEANINGS: dict[str | int | None, Meaning] = {
    # PostgreSQL
    "08": _LOST,
    "22": _UNSTORABLE,
    "23505": _RACE,  # two transactions that both found nothing
    "23": _UNSTORABLE,
    "25006": _READ_ONLY,
    "28": _REFUSED,
    "3D000": _NO_DATABASE,
    "3F000": _NO_DATABASE,
    "40": _RACE,
    "42501": _REFUSED,
    "42P01": _NO_TABLE,
    "42703": _NO_TABLE,
    "53100": _FULL,
    "53300": _BUSY,
    "53": _LOST,
    "54": _LIMIT,
    "55P03": _TOO_SLOW,
    "57014": _TOO_SLOW,
    "57": _LOST,
    "58030": Meaning(StorageUnavailableError, "the server cannot read or write its disk"),
    # MySQL and MariaDB
    1020: _RACE,
    1062: _RACE,
    1213: _RACE,
    1205: _TOO_SLOW,
    1317: _TOO_SLOW,
    1969: _TOO_SLOW,
    3024: _TOO_SLOW,
    1040: _BUSY,
    1203: _BUSY,
    1226: _BUSY,
    1044: _REFUSED,
    1045: _REFUSED,
    1142: _REFUSED,
    1698: _REFUSED,
    1049: _NO_DATABASE,
    1054: _NO_TABLE,
    1146: _NO_TABLE,
    1932: _NO_TABLE,
    1021: _FULL,
    1030: Meaning(StorageUnavailableError, "the server cannot read or write its disk"),
    1114: _FULL,
    1290: _READ_ONLY,
    1792: _READ_ONLY,
    1836: _READ_ONLY,
    1053: _LOST,
    1927: _LOST,
    2002: _LOST,
    2003: _LOST,
    2006: _LOST,
    2013: _LOST,
    1118: _LIMIT,
    1153: _LIMIT,
    1301: _LIMIT,
    1406: _LIMIT,
    1264: _UNSTORABLE,
    1366: _UNSTORABLE,
    3140: _UNSTORABLE,
    3819: _UNSTORABLE,
    4025: Meaning(UnstorableError, "it is no JSON, or nested deeper than the database reads it"),
    # SQLite
    f"sqlite{sqlite3.SQLITE_BUSY}": _TOO_SLOW,
    f"sqlite{sqlite3.SQLITE_LOCKED}": _TOO_SLOW,
    f"sqlite{sqlite3.SQLITE_CANTOPEN}": _LOST,
    f"sqlite{sqlite3.SQLITE_IOERR}": _LOST,
    f"sqlite{sqlite3.SQLITE_CONSTRAINT}": _RACE,
    f"sqlite{sqlite3.SQLITE_FULL}": _FULL,
    f"sqlite{sqlite3.SQLITE_READONLY}": _READ_ONLY,
    f"sqlite{sqlite3.SQLITE_TOOBIG}": _LIMIT,
}

# While a connection is made PostgreSQL tells no code, but these, in most languages with English
# words; what is not recognised counts as "cannot be reached", which is retried.
_MESSAGES: tuple[tuple[str, Meaning], ...] = (
    (r"password authentication failed|no password supplied|no pg_hba\.conf entry", _REFUSED),
    (r"role .* (does not exist|is not permitted)", _REFUSED),
    (r"database .* does not exist", _NO_DATABASE),
    (r"too many (clients|connections)|remaining connection slots", _BUSY),
    (r"no such table", _NO_TABLE),
    (r"Could not decode to UTF-8", Meaning(StorageError, "a damaged text")),
)


def translate(error: exc.SQLAlchemyError, place: str, *, opening: bool = False) -> TorporError:
    """Return Torpor's error for what a database raised at ``place``."""
    if isinstance(error, exc.TimeoutError):
        msg = f"{place}: every connection of the pool was in use all the time"
        return StorageUnavailableError(msg)
    meaning = _meaning_of(error)
    driver_error = error.orig if isinstance(error, exc.DBAPIError) else error
    # Not SQLAlchemy's own text: it repeats the statement and what was to be stored.
    msg = f"{place}: {meaning.what}: {driver_error}".rstrip()
    kind = meaning.error_class(opening=opening)
    return kind(msg)


def is_lost_race(error: exc.SQLAlchemyError) -> bool:
    """Tell whether the transaction was rolled back because of another one."""
    return isinstance(error, exc.DBAPIError) and _meaning_of(error) is _RACE


def _meaning_of(error: exc.SQLAlchemyError) -> Meaning:
    if not isinstance(error, exc.DBAPIError):
        return _UNKNOWN
    code = _code(error.orig)
    known = _MEANINGS.get(code) or _MEANINGS.get(str(code)[:2])
    if known is not None:
        return known
    for pattern, meaning in _MESSAGES:
        if re.search(pattern, str(error.orig)):
            return meaning
    if error.connection_invalidated or (code is None and isinstance(error, exc.OperationalError)):
        return _LOST
    if isinstance(error, exc.DataError):
        return _UNSTORABLE
    return _RACE if isinstance(error, exc.IntegrityError) else _UNKNOWN


def _code(error: BaseException | None) -> str | int | None:
    if isinstance(error, sqlite3.Error):
        primary: int | None = getattr(error, "sqlite_errorcode", None)
        return None if primary is None else f"sqlite{primary & 0xFF}"
    first = error.args[0] if error is not None and error.args else None
    if isinstance(first, int):  # more exact than the state, which some of these drivers have too
        return first
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
