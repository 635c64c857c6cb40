"""Every backend keeps the contract."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.places.contract import PlaceContract
from tests.places.sql import MARIADB, POSTGRESQL
from tests.storage import sqlite_kit
from tests.storage.memory_kit import Alone
from tests.storage.sql_kit import count_rows, count_statements, damage_entry, damage_record
from torpor.storage.records import Space
from torpor.storage.sql import SQLStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage import Storage


class TestMemory(Alone, PlaceContract):
    """In memory: the place is the instance itself, and nobody else reaches it."""

    backend = "memory"


class TestSQLite(PlaceContract):
    """In a SQLite file."""

    backend = "sqlite"

    def count_steps(self, storage: Storage, work: Callable[[], object]) -> int:
        """Count statements and rows."""
        return sqlite_kit.count_steps(sqlite_kit.connection_of(storage), work)

    def count_effort(self, storage: Storage, work: Callable[[], object]) -> int:
        """Count SQLite's instructions."""
        return sqlite_kit.count_instructions(sqlite_kit.connection_of(storage), work)

    def damage_record(self, storage: Storage, space: Space, key: str) -> None:  # noqa: ARG002
        """Add a space to a checkpoint's data or a digit to a thread's revision."""
        statements = {
            Space.CHECKPOINTS: "UPDATE checkpoints SET data = data || ' ' WHERE key = ?",
            Space.THREADS: "UPDATE threads SET thread = replace(thread, ':1', ':11') WHERE key = ?",
        }
        self._execute(statements[space], key)

    def damage_entry(self, storage: Storage, thread_id: str, seq: int) -> None:  # noqa: ARG002
        """Change a letter of the document."""
        self._execute(
            "UPDATE entries SET document = replace(document, 'entry', 'Entry')"
            " WHERE thread_id = ? AND seq = ?",
            thread_id,
            seq,
        )

    def sever(self, storage: Storage) -> None:  # noqa: ARG002
        """Remove the tables."""
        for table in ("checkpoints", "threads", "entries"):
            self._execute(f"DROP TABLE {table}")

    def _execute(self, statement: str, *parameters: object) -> None:
        path = self.url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement, parameters)


class TestFile(PlaceContract):
    """In a folder of files, one for each record: a batch takes steps for each."""

    backend = "file"
    few_steps = False

    @property
    def path(self) -> Path:
        """Where the folder is."""
        return Path(self.url.removeprefix("file:///"))

    def damage_record(self, storage: Storage, space: Space, key: str) -> None:  # noqa: ARG002
        """Change a digit of the revision."""
        name = hashlib.sha256(key.encode()).hexdigest()
        place = {
            Space.CHECKPOINTS: self.path / "checkpoints" / f"{name}.json",
            Space.THREADS: self.path / "threads" / name / "meta.json",
        }[space]
        text = place.read_text("utf-8")
        assert '"rev": 1' in text
        place.write_text(text.replace('"rev": 1', '"rev": 7'), "utf-8")

    def damage_entry(self, storage: Storage, thread_id: str, seq: int) -> None:  # noqa: ARG002
        """Change a letter of one line."""
        name = hashlib.sha256(thread_id.encode()).hexdigest()
        place = self.path / "threads" / name / "entries.jsonl"
        lines = place.read_text("utf-8").splitlines(keepends=True)
        lines[seq] = lines[seq].replace("entry", "Entry")
        place.write_text("".join(lines), "utf-8")

    def sever(self, storage: Storage) -> None:  # noqa: ARG002
        """Take the folder away, as when its disk is no longer mounted."""
        self.path.rename(self.path.with_name("elsewhere"))


class SQLContract(PlaceContract):
    """In a SQL database."""

    def count_steps(self, storage: Storage, work: Callable[[], object]) -> int:
        """Count statements."""
        return count_statements(storage, work)

    def count_effort(self, storage: Storage, work: Callable[[], object]) -> int:
        """Count rows that the server reads."""
        return count_rows(storage, work)

    def damage_record(self, storage: Storage, space: Space, key: str) -> None:
        """Change what only a checksum tells."""
        damage_record(storage, space, key)

    def damage_entry(self, storage: Storage, thread_id: str, seq: int) -> None:
        """Change a letter of the document."""
        damage_entry(storage, thread_id, seq)


class TestPostgreSQL(SQLContract):
    """In PostgreSQL."""

    backend = "postgresql"

    def sever(self, storage: Storage) -> None:  # noqa: ARG002
        """Remove the tables."""
        POSTGRESQL.drop_tables()


class TestMariaDB(SQLContract):
    """In MariaDB."""

    backend = "mariadb"

    def sever(self, storage: Storage) -> None:  # noqa: ARG002
        """Remove the tables."""
        MARIADB.drop_tables()


class TestSQLiteThroughSQLAlchemy(SQLContract):
    """In a SQLite file, by way of SQLAlchemy, which has a statement for each row of a batch."""

    backend = "sqlalchemy-sqlite"
    few_steps = False

    def sever(self, storage: Storage) -> None:
        """Remove the tables."""
        assert isinstance(storage, SQLStorage)
        with storage.engine.begin() as connection:
            for table in ("checkpoints", "threads", "entries"):
                connection.exec_driver_sql(f"DROP TABLE {table}")
