"""pykka's side: a thread for each actor, and a transaction for each save."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pykka

from tests.benchmarks.agents import Profile

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PykkaCounter", "PykkaProfile", "Rows"]


class PykkaCounter(pykka.ThreadingActor):
    """A plain pykka actor with one int of state, or with more beside it."""

    use_daemon_thread = True

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.count = 0
        self.state = state

    def on_receive(self, message: Any) -> int:
        """Return the count, the message being "read"."""
        assert message == "read"
        return self.count


class Rows:
    """One KB of JSON by key, in SQLite in WAL mode at full durability; a transaction a save."""

    def __init__(self, path: Path) -> None:
        # One connection behind a lock: with one a thread, 64 writers fight for the file's lock.
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS states (key PRIMARY KEY, state)")

    def load(self, key: str) -> str | None:
        """Return the state of ``key``, None if there is none."""
        with self._lock:
            found = self._connection.execute("SELECT state FROM states WHERE key = ?", (key,))
            row = found.fetchone()
        return row[0] if row else None

    def save(self, key: str, state: str) -> None:
        """Replace the state of ``key``."""
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO states VALUES (?, ?)", (key, state))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class PykkaProfile(pykka.ThreadingActor):
    """A pykka actor that loads its state when it starts and saves it before it answers."""

    use_daemon_thread = True

    def __init__(self, rows: Rows, key: str) -> None:
        super().__init__()
        self.rows = rows
        self.key = key
        self.state = Profile()

    def on_start(self) -> None:
        """Load what was saved."""
        stored = self.rows.load(self.key)
        if stored is not None:
            self.state = Profile.model_validate_json(stored)

    def on_receive(self, message: Any) -> int:
        """Return the count; add to it and save it first, unless the message is "read"."""
        if message == "add":
            self.state.count += 1
            self.rows.save(self.key, self.state.model_dump_json())
        return self.state.count
