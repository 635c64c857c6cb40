"""The index of ``wake_at`` in a file store: which records may be due, in order of time."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from torpor.storage.file.io import names_in
from torpor.storage.records import Space

if TYPE_CHECKING:
    from pathlib import Path

    from torpor.storage.records import Record

__all__ = ["DueHint", "DueIndex"]

_FILE_NAME = re.compile(r"(\d{13}\.\d{6})\.(checkpoints|threads)\.([0-9a-f]{64})")
_LATEST = 9_999_999_999_999  # seconds; what is later, or infinite, is filed here


class DueHint(NamedTuple):
    """Says that a record, named by its hash, may be due at about ``stamp``."""

    stamp: str
    space: Space
    name: str

    @classmethod
    def of(cls, record: Record | None, space: Space, name: str) -> DueHint | None:
        """Return the hint that belongs to what is stored as ``name``; None if it needs none."""
        if record is None or record.wake_at is None:
            return None
        return cls(_stamp(record.wake_at), space, name)


class DueIndex:
    """Empty files whose names are the hints.

    A hint is added before its record is written and removed after the record was replaced: a
    crash leaves one too many, never one too few. One too many costs a look at its record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, hint: DueHint) -> None:
        """Make the hint; it may exist."""
        os.close(os.open(self._place(hint), os.O_WRONLY | os.O_CREAT, 0o666))

    def remove(self, hint: DueHint) -> None:
        """Remove the hint; it may be gone."""
        self._place(hint).unlink(missing_ok=True)

    def has(self, hint: DueHint) -> bool:
        """Return whether the hint is there."""
        return self._place(hint).exists()

    def until(self, before: float = math.inf) -> list[DueHint]:
        """Return all hints of times up to ``before``, earliest first."""
        limit = _stamp(before)
        hints: list[DueHint] = []
        for file_name in names_in(self.folder):
            match = _FILE_NAME.fullmatch(file_name)
            if match and match[1] <= limit:
                hints.append(DueHint(match[1], Space(match[2]), match[3]))
        return sorted(hints, key=lambda hint: hint.stamp)

    def _place(self, hint: DueHint) -> Path:
        return self.folder / f"{hint.stamp}.{hint.space.value}.{hint.name}"


def _stamp(seconds: float) -> str:
    """Return text that sorts as times do: an earlier time never gets a later stamp."""
    microseconds = math.floor(min(max(seconds, 0), _LATEST) * 1_000_000)
    return f"{microseconds // 1_000_000:013d}.{microseconds % 1_000_000:06d}"
