"""Reading the lines of an export as what is to be stored, one step at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torpor.storage.errors import CorruptExportError
from torpor.storage.records import Change, Entry, Record, Restoration, Space, ThreadHead
from torpor.storage.transfer.lines import Totals, decode_line, require_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Part", "PartReader"]


@dataclass(frozen=True, slots=True)
class Part:
    """Some entries of a thread, and their record as it stands with them and all before them."""

    space: Space
    whole: Record
    entries: tuple[Entry, ...]
    size: int

    @property
    def place(self) -> tuple[Space, str]:
        """Where its record is stored."""
        return self.space, self.whole.key

    @property
    def is_first(self) -> bool:
        """Whether no entries come before it."""
        head = self.whole.thread
        return head is None or not self.entries or self.entries[0].seq == head.start

    @property
    def is_last(self) -> bool:
        """Whether no entries come behind it."""
        head = self.whole.thread
        return head is None or not self.entries or self.entries[-1].seq == head.rev - 1

    @property
    def record(self) -> Record:
        """The record that is to be stored with this part."""
        if self.whole.thread is None or not self.entries:
            return self.whole
        rev = self.entries[-1].seq + 1
        head = replace(self.whole.thread, rev=rev, last=self.entries[-1].id)
        return replace(
            self.whole, thread=head, rev=rev if self.space is Space.THREADS else self.whole.rev
        )

    def change(self, expected_rev: int | None) -> Change:
        """Return the change that stores it."""
        restoration = Restoration(record=self.record, entries=self.entries)
        return Change(
            key=self.whole.key,
            space=self.space,
            expected_rev=expected_rev,
            restore=restoration,
            at=self.whole.updated_at,
        )


class PartReader:
    """The parts of an export, each yielded when it is known to be sound; iterate once.

    Raises ``CorruptExportError`` where the lines are not an export, whole and in order. Holds
    one line at a time.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.totals = Totals()
        """What the parts so far have held."""
        self._lines = enumerate(lines, start=1)
        self._open: tuple[Space, Record, ThreadHead] | None = None  # some entries are to come
        self._reached = 0  # the seq of the next of them

    def __iter__(self) -> Iterator[Part]:
        number, line = next(self._lines, (1, b""))
        require_header(line)
        for number, line in self._lines:
            found = decode_line(line, number)
            if isinstance(found.content, Totals):
                self._end(found.content, number)
                return
            if isinstance(found.content, Record):
                part = self._begin(found.content, len(line), number)
            else:
                part = self._go_on(found.content, len(line), number)
            self.totals += found.adds
            if part is not None:
                yield part
        raise CorruptExportError(number + 1, "it was cut off: the last line is missing")

    def _begin(self, record: Record, size: int, number: int) -> Part | None:
        self._require_whole(number)
        space = Space.THREADS if record.data is None else Space.CHECKPOINTS
        head = record.thread
        empty = None if head is None else replace(head, start=head.rev)
        try:
            if head is not None and head.start > head.rev:
                msg = "its thread starts behind its end"
                raise ValueError(msg)
            bare = replace(record, thread=empty)
            Change(key=record.key, space=space, restore=Restoration(record=bare))
        except ValueError as error:
            raise CorruptExportError(number, f"not a record that can be: {error}") from error
        if head is None or head.start == head.rev:
            return Part(space, record, (), size)
        self._open, self._reached = (space, record, head), head.start
        return None

    def _go_on(self, entries: tuple[Entry, ...], size: int, number: int) -> Part:
        if self._open is None:
            raise CorruptExportError(number, "entries that belong to no record")
        space, record, head = self._open
        stop = self._reached + len(entries)
        in_order = [entry.seq for entry in entries] == list(range(self._reached, stop))
        fits = stop < head.rev or (stop == head.rev and entries[-1].id == head.last)
        if not in_order or not fits:
            raise CorruptExportError(number, f"not the entries of {record.key!r} that come next")
        self._reached = stop
        if stop == head.rev:
            self._open = None
        return Part(space, record, entries, size)

    def _end(self, told: Totals, number: int) -> None:
        self._require_whole(number)
        if told != self.totals:
            raise CorruptExportError(number, "lines before it are missing: the sums differ")
        for behind, _ in self._lines:
            raise CorruptExportError(behind, "there is more behind the end")

    def _require_whole(self, number: int) -> None:
        if self._open is not None:
            _, record, head = self._open
            detail = f"entries {self._reached} to {head.rev - 1} of {record.key!r} are missing"
            raise CorruptExportError(number, detail)
