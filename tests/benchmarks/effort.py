"""What SQLite did for one piece of work, counted: a clock would tell how busy the machine is."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median_high
from typing import TYPE_CHECKING

from torpor.storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.storage import Storage

__all__ = ["Effort"]

_INSTRUCTIONS_OF_A_ROW = 5


@dataclass(frozen=True)
class Effort:
    """What was done in a SQLite file, and by the whole process with its files."""

    rows_written: int
    instructions: int
    """Of SQLite's virtual machine: each row that it looks at takes some."""
    bytes_read: int
    bytes_written: int

    @classmethod
    def of(cls, storage: Storage, work: Callable[[], object]) -> Effort:
        """Count what ``work`` takes. Nobody else may use the storage meanwhile. Linux only."""
        assert isinstance(storage, SQLiteStorage)
        # All connections of the storage, which no user may have: nobody uses one now.
        idle = storage._file._idle  # pyright: ignore[reportPrivateUsage]
        connections = list(idle)
        instructions = 0

        def note() -> None:
            nonlocal instructions
            instructions += 1

        for connection in connections:
            connection.set_progress_handler(note, 1)
        rows = sum(connection.total_changes for connection in connections)
        files = Path("/proc/self/io").read_text("ascii")
        work()
        files_after = Path("/proc/self/io").read_text("ascii")
        for connection in connections:
            connection.set_progress_handler(None, 0)
        assert set(idle) == set(connections), "a connection came or went"
        return cls(
            sum(connection.total_changes for connection in connections) - rows,
            instructions,
            _field(files_after, "rchar") - _field(files, "rchar") - len(files),
            _field(files_after, "wchar") - _field(files, "wchar"),
        )

    @classmethod
    def median(cls, efforts: Sequence[Effort]) -> Effort:
        """Return the median of each: at times a page of the file is full, or the log is."""
        return cls(*(median_high(column) for column in zip(*map(astuple, efforts), strict=True)))

    def same_as(self, other: Effort) -> bool:
        """Whether as many rows were touched, and as many bytes.

        A few instructions go by which way the database finds a row; one more row takes more.
        """
        return (
            (self.rows_written, self.bytes_read, self.bytes_written)
            == (other.rows_written, other.bytes_read, other.bytes_written)
        ) and abs(self.instructions - other.instructions) < _INSTRUCTIONS_OF_A_ROW


def _field(text: str, name: str) -> int:
    fields = dict(line.split(": ") for line in text.splitlines())
    return int(fields[name])
