"""The floor: what no durable write can go below."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.benchmarks.agents import Profile

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AppendOnlyFile"]


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
