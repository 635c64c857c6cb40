"""One thread's entries in a file: a JSON line each, in order of ``seq``, with a checksum each.

A line is ``{"seq":…,"checksum":…,"entry":{…}}``. Only the lines that the thread's head covers
count. Behind them there may be anything: entries whose head was never written, a torn line. In
front of them there may be entries that were trimmed away and still take up room.

There is no index beside the file that could disagree with it: a line is found by bisection over
byte offsets, from the end backwards in doubling steps, so that the cost of reaching the newest
entries does not depend on how many there are.
"""

from __future__ import annotations

import io
import os
import re
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from torpor.storage import codec
from torpor.storage.errors import CorruptRecordError, MissingThreadError, ThreadMismatchError
from torpor.storage.file.io import write_fully
from torpor.storage.file.layout import hash_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from torpor.storage.file.io import DurableFiles
    from torpor.storage.file.layout import Layout
    from torpor.storage.records import Entry, ThreadHead

__all__ = ["EntryLog"]

_FIRST_STEP = 4096
_LINE = re.compile(rb'\{"seq":(\d{1,19}),"checksum":(\d{1,10}),"entry":(.*)\}\n', re.DOTALL)


class EntryLog:
    """The log of ``thread_id``. Writing needs the thread's lock; reading does not."""

    def __init__(self, layout: Layout, thread_id: str) -> None:
        self._layout = layout
        self._thread_id = thread_id
        self.path = layout.log(hash_of(thread_id))

    # -- reading ------------------------------------------------------------------------------

    def id_at(self, seq: int) -> str | None:
        """Return the id of the entry ``seq``, None if it is not there whole."""
        try:
            with self._open() as file:
                entry = next(self._sound(file, seq, seq + 1), None)
        except CorruptRecordError:
            return ""  # which no entry has: others are asked for at the same time
        return entry.id if entry else None

    def read(
        self,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None,
        limit: int | None,
        newest: bool,
    ) -> list[Entry]:
        """Return entries as ``Storage._read_entries`` does.

        Unsound ones are passed over; that leaves a gap, which the caller sees. With ``kinds``
        nobody could see it, so then it raises ``CorruptRecordError``.
        """
        with self._open() as file:
            if limit is not None and newest:
                return self._last(file, start, stop, kinds, limit)
            return list(islice(self._of_kinds(file, start, stop, kinds), limit))

    def _last(
        self, file: BinaryIO, start: int, stop: int, kinds: Collection[str] | None, limit: int
    ) -> list[Entry]:
        found: list[Entry] = []
        window = limit
        while start < stop and len(found) < limit:
            low = max(start, stop - window)
            found = [*self._of_kinds(file, low, stop, kinds), *found]
            stop, window = low, window * 2
        return found[-limit:]

    def _of_kinds(
        self, file: BinaryIO, start: int, stop: int, kinds: Collection[str] | None
    ) -> Iterator[Entry]:
        if kinds is None:
            yield from self._sound(file, start, stop)
            return
        expected = start
        for entry in self._sound(file, start, stop):
            self._require_no_gap(expected, entry.seq)
            expected += 1
            if entry.kind in kinds:
                yield entry
        self._require_no_gap(expected, stop)

    def _require_no_gap(self, expected: int, found: int) -> None:
        if found != expected:
            raise CorruptRecordError(self._thread_id, f"entries {expected} to {found - 1} are gone")

    def _sound(self, file: BinaryIO, start: int, stop: int) -> Iterator[Entry]:
        """Yield the entries from ``start`` on that are whole; damaged lines are passed over."""
        file.seek(self._place_of(file, start))
        for line in file:
            found = self._decode(line)
            if found is None:
                continue
            seq, document = found
            if seq >= stop:
                return
            yield codec.decode_entry(document, seq, self._thread_id)

    def _place_of(self, file: BinaryIO, seq: int) -> int:
        """Return where the first entry begins that is not before ``seq``; the size if none is."""
        size = file.seek(0, os.SEEK_END)
        low, high, step = 0, size, _FIRST_STEP
        while step < size:
            found = self._first_from(file, size - step)
            if found is not None and found[0] < seq:
                low = found[1] + 1
                break
            high = size - step
            step *= 2
        while low < high:
            middle = (low + high) // 2
            found = self._first_from(file, middle)
            if found is not None and found[0] < seq:
                low = found[1] + 1
            else:
                high = middle
        found = self._first_from(file, low)
        return size if found is None else found[1]

    def _first_from(self, file: BinaryIO, offset: int) -> tuple[int, int] | None:
        """Return seq and place of the first whole line that begins at ``offset`` or later."""
        file.seek(max(offset - 1, 0))
        if offset > 0:
            file.readline()
        while line := file.readline():
            if (found := self._decode(line)) is not None:
                return found[0], file.tell() - len(line)
        return None

    def _decode(self, line: bytes) -> tuple[int, str] | None:
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        seq = int(match[1])
        try:
            document = match[3].decode()
        except UnicodeDecodeError:
            return None
        sound = codec.entry_checksum(self._thread_id, seq, document) == int(match[2])
        return (seq, document) if sound else None

    def _open(self) -> BinaryIO:
        """Open the file to read it; one that is not there is as good as empty."""
        try:
            return self.path.open("rb")
        except FileNotFoundError:
            self._layout.require_store()
            return io.BytesIO()

    # -- writing ------------------------------------------------------------------------------

    def lines_of(self, entries: Sequence[Entry]) -> bytes:
        """Return the lines to append for ``entries``."""
        return b"".join(map(self._encode, entries))

    def append(self, head: ThreadHead | None, lines: bytes) -> None:
        """Write ``lines`` behind those that ``head`` covers, in place of whatever is there.

        ``head`` is the stored one, None if it covers nothing. Not forced to the disk. If the
        newest entry that it covers is not in its place, nothing is written: raises
        ``MissingThreadError`` or ``ThreadMismatchError``.
        """
        end = 0 if head is None else self._end(head)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.ftruncate(descriptor, end)
            os.lseek(descriptor, end, os.SEEK_SET)
            write_fully(descriptor, lines)
        finally:
            os.close(descriptor)

    def trim(self, head: ThreadHead, files: DurableFiles) -> None:
        """Give back the room of entries that ``head`` no longer covers, when it is worth it.

        The file is rewritten once at least half of it is of no use: over a thread's life that
        is less writing than the appends were.
        """
        if head.start == head.rev:
            self.path.unlink(missing_ok=True)
            return
        with self._open() as file:
            unused = self._place_of(file, head.start)
            oldest = self._first_from(file, unused)
            size = file.seek(0, os.SEEK_END)
        if oldest == (head.start, unused) and unused >= size - unused:
            files.publish_end(self.path, unused)

    def _encode(self, entry: Entry) -> bytes:
        document = codec.encode_entry(entry)
        checksum = codec.entry_checksum(self._thread_id, entry.seq, document)
        return f'{{"seq":{entry.seq},"checksum":{checksum},"entry":{document}}}\n'.encode()

    def _end(self, head: ThreadHead) -> int:
        with self._open() as file:
            newest = next(self._sound(file, head.rev - 1, head.rev), None)
            end = file.tell()
        if end == 0:
            raise MissingThreadError(self._thread_id, f"no entries, {head.rev} expected")
        if newest is None or newest.id != head.last:
            found = None if newest is None else newest.id
            raise ThreadMismatchError(
                self._thread_id, f"entry {head.rev - 1} is {found!r}, its head says {head.last!r}"
            )
        return end
