"""How a SQLite file is opened: one of others is refused, a new one gets the schema."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from torpor.storage.errors import (
    ConfigurationError,
    SchemaVersionError,
    StorageUnavailableError,
)
from torpor.storage.sqlite.errors import primary_code
from torpor.storage.sqlite.statements import SCHEMA
from torpor.storage.sqlite.waiting import patiently

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["SCHEMA_VERSION", "Opening"]

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x546F7270  # "Torp": at byte 68 of the file, where file(1) looks
# In one statement, so in one snapshot: another process may create the schema meanwhile.
_IDENTITY = """
    SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)
    FROM pragma_application_id, pragma_user_version
"""


class Opening:
    """Opens the file at ``path``, whose write-ahead log is at ``wal``.

    Other processes that open it too are waited for, ``busy_timeout`` seconds at most each time.
    """

    def __init__(self, path: Path, wal: Path, *, busy_timeout: float) -> None:
        self._path = path
        self._wal = wal
        self._busy_timeout = busy_timeout

    def open(self, connection: AbstractContextManager[sqlite3.Connection]) -> None:
        """See to WAL mode and schema, by a ``connection`` that creates the file if need be.

        That is made only after a look at what is there: a file that is not ours stays untouched.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size:
                self._inspect()
            with connection as created:
                self._prepare(created)
        except (OSError, ValueError) as error:
            msg = f"cannot open {self._path}: {error}"
            raise ConfigurationError(msg) from error
        except sqlite3.Error as error:
            msg = f"cannot open {self._path} as a SQLite database: {error}"
            if primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise StorageUnavailableError(msg) from error
            raise ConfigurationError(msg) from error

    def _inspect(self) -> None:
        """Refuse a file that is not ours, by a connection that can't change or lock anything."""
        access = "mode=ro" if self._wal.exists() else "immutable=1"  # that leaves no files beside
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?{access}", uri=True, timeout=self._busy_timeout
        )
        with closing(connection), suppress(sqlite3.Error):  # told better when it is opened
            self._has_schema(connection)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        deadline = self._deadline()
        wal = patiently(deadline, connection.execute, "PRAGMA journal_mode = WAL")
        if wal.fetchone() != ("wal",):
            msg = f"{self._path} cannot have a write-ahead log: is it on a network drive?"
            raise ConfigurationError(msg)
        if not self._has_schema(connection):
            patiently(deadline, connection.execute, "BEGIN IMMEDIATE")
            self._create_schema(connection)
            connection.execute("COMMIT")

    def _create_schema(self, connection: sqlite3.Connection) -> None:
        if self._has_schema(connection):  # another process was faster
            return
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _has_schema(self, connection: sqlite3.Connection) -> bool:
        """Tell whether the schema is there or still to be created; raise if neither fits."""
        [(application_id, version, tables)] = patiently(
            self._deadline(), connection.execute, _IDENTITY
        )
        if not (application_id or version or tables):
            return False
        if application_id != _APPLICATION_ID:
            msg = f"{self._path} is a SQLite database of another program; it was left as it is"
            raise ConfigurationError(msg)
        if version > SCHEMA_VERSION:
            raise SchemaVersionError(str(self._path), found=version, supported=SCHEMA_VERSION)
        return True

    def _deadline(self) -> float:
        return time.monotonic() + self._busy_timeout
