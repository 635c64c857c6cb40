"""Checkpoints and threads as JSON files in a folder, for people and other programs to read."""

from __future__ import annotations

from torpor.storage.file.storage import FileStorage

__all__ = ["FileStorage"]
