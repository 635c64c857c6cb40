"""The peers' side of the work, written as their own documentation would have it."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pykka

from tests.benchmarks.agents import KILOBYTE, Profile

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["AppendOnlyFile", "LangGraphSaver", "PykkaCounter", "PykkaProfile", "Rows"]


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


class LangGraphSaver:
    """LangGraph's ``SqliteSaver`` as it ships: WAL, full durability, one connection."""

    def __init__(self, saver: Any) -> None:
        self._saver = saver

    @staticmethod
    @contextmanager
    def open(path: Path) -> Generator[LangGraphSaver]:
        """Open the saver on a file; raises ``ImportError`` without the extra ``bench``."""
        from langgraph.checkpoint.sqlite import SqliteSaver  # noqa: PLC0415 - needed here only

        with SqliteSaver.from_conn_string(str(path)) as saver:
            yield LangGraphSaver(saver)

    def put(self, thread_id: str, count: int) -> None:
        """Save a new checkpoint of one KB, each time a changed one."""
        from langgraph.checkpoint.base import empty_checkpoint  # noqa: PLC0415 - needed here only

        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = KILOBYTE | {"count": count}
        self._saver.put(_config(thread_id), checkpoint, {"source": "loop", "step": count}, {})

    def get(self, thread_id: str) -> int:
        """Load the newest checkpoint; return its count."""
        found = self._saver.get_tuple(_config(thread_id))
        count: int = found.checkpoint["channel_values"]["count"]
        return count


class AppendOnlyFile:
    """The least that a durable write can cost: append one KB and have the disk keep it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._line = Profile().model_dump_json().encode() + b"\n"

    def append(self) -> None:
        """Append and sync."""
        os.write(self._file, self._line)
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _config(thread_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
