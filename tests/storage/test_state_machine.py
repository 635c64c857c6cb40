"""Every backend does what a model of it in plain dictionaries does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import settings

from tests.storage.sql_kit import MARIADB, POSTGRESQL
from torpor.storage import open_storage
from torpor.storage.file import FileStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.testing import StorageStateMachine

if TYPE_CHECKING:
    import unittest

    from tests.storage.sql_kit import Server
    from torpor.storage import Storage


class MemoryMachine(StorageStateMachine):
    """The machine on storage in memory."""

    def make_storage(self) -> Storage:
        """Return a storage in memory."""
        return MemoryStorage()


class DurableMachine(StorageStateMachine):
    """The machine on a storage with a place that can be opened again."""

    can_reopen = True

    def open_place(self, folder: Path) -> Storage:
        """Return a storage that has its place in ``folder``."""
        raise NotImplementedError

    def make_storage(self) -> Storage:
        """Return a storage in a new folder."""
        self.folder = Path(tempfile.mkdtemp(prefix="torpor-machine-"))
        return self.open_place(self.folder)

    def reopen(self, storage: Storage) -> Storage:  # noqa: ARG002 - there is one place
        """Open the place again."""
        return self.open_place(self.folder)

    def teardown(self) -> None:
        """Remove the folder."""
        super().teardown()
        shutil.rmtree(self.folder, ignore_errors=True)


class SQLiteMachine(DurableMachine):
    """The machine on SQLite, which forgets nothing here: no machine is switched off."""

    def open_place(self, folder: Path) -> Storage:
        """Return a storage in a file."""
        return SQLiteStorage(folder / "store.db", synchronous="off")


class FileMachine(DurableMachine):
    """The machine on files, which forget nothing here: no machine is switched off."""

    def open_place(self, folder: Path) -> Storage:
        """Return a storage in a folder."""
        return FileStorage(folder / "store", fsync=False)


class ServerMachine(StorageStateMachine):
    """The machine on a server, which is asked less: it takes a round trip to answer."""

    can_reopen = True
    server: ClassVar[Server]

    def make_storage(self) -> Storage:
        """Return a storage in an empty schema."""
        return open_storage(self.server.empty())

    def reopen(self, storage: Storage) -> Storage:  # noqa: ARG002 - there is one place
        """Open the schema again."""
        return open_storage(self.server.url)


class PostgreSQLMachine(ServerMachine):
    """The machine on PostgreSQL."""

    server = POSTGRESQL


class MariaDBMachine(ServerMachine):
    """The machine on MariaDB."""

    server = MARIADB


class SQLAlchemyMachine(DurableMachine):
    """The machine on SQLite by way of SQLAlchemy."""

    def open_place(self, folder: Path) -> Storage:
        """Return a storage in a file."""
        return open_storage(f"sqlite+sqlalchemy:///{folder}/store.db")


TestMemory = MemoryMachine.TestCase
TestSQLite = SQLiteMachine.TestCase
TestFile = FileMachine.TestCase


def _test_of(machine: type[StorageStateMachine], fixture: str) -> type[unittest.TestCase]:
    """Return the tests of a machine that needs ``fixture``, a tenth of the usual ones."""
    case: type[Any] = machine.TestCase
    usual = settings()
    case.settings = settings(
        max_examples=max(1, usual.max_examples // 10),
        stateful_step_count=usual.stateful_step_count // 2,
    )
    pytest.mark.usefixtures(fixture)(case)
    return case


TestPostgreSQL = _test_of(PostgreSQLMachine, "postgresql_url")
TestMariaDB = _test_of(MariaDBMachine, "mariadb_url")
TestSQLiteThroughSQLAlchemy = _test_of(SQLAlchemyMachine, "sqlalchemy_sqlite_url")
