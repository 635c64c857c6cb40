"""Every backend does what a model of it in plain dictionaries does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from torpor.storage.file import FileStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.testing import StorageStateMachine

if TYPE_CHECKING:
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


TestMemory = MemoryMachine.TestCase
TestSQLite = SQLiteMachine.TestCase
TestFile = FileMachine.TestCase
