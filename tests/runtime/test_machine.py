"""The whole runtime does what a model of it in plain dictionaries does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings

from torpor.storage.memory import MemoryStorage
from torpor.storage.sqlite import SQLiteStorage
from torpor.testing.machine import RuntimeStateMachine

if TYPE_CHECKING:
    from torpor.storage import Storage


class MemoryMachine(RuntimeStateMachine):
    """On memory."""

    def make_storage(self) -> Storage:
        """Return a storage in memory."""
        return MemoryStorage()


class SQLiteMachine(RuntimeStateMachine):
    """On a SQLite file."""

    def make_storage(self) -> Storage:
        """Return a storage in a new file."""
        self.folder = Path(tempfile.mkdtemp(prefix="torpor-machine-"))
        return SQLiteStorage(self.folder / "store.db", synchronous="off")

    def teardown(self) -> None:
        """Remove the file."""
        super().teardown()
        shutil.rmtree(self.folder, ignore_errors=True)


# Each step may take as long as an outage does, and what threads do is not replayed step by step.
LIMITS = settings(
    max_examples=max(1, settings().max_examples // 10), stateful_step_count=25, print_blob=False
)
TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = LIMITS
TestSQLiteMachine = SQLiteMachine.TestCase
TestSQLiteMachine.settings = LIMITS
