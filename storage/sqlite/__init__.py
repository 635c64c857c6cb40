"""Checkpoints and threads in one SQLite file, by the standard library's driver."""

from __future__ import annotations

from torpor.storage.sqlite.storage import SQLiteStorage

__all__ = ["SQLiteStorage"]
