"""Writing an export: every live record and every entry, as lines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

from torpor.storage.errors import CorruptRecordError, StorageError
from torpor.storage.records import Record, Space
from torpor.storage.transfer.lines import (
    Totals,
    encode_end,
    encode_entries,
    encode_header,
    encode_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torpor.storage.base import Storage
    from torpor.storage.records import Entry, ThreadHead

__all__ = ["Export"]

_RECORDS_AT_ONCE = 200
_READERS = 4
_FIRST_ENTRIES = 50
_ENTRIES_TO_A_LINE = 500
_LINE_CHARACTERS = 1 << 20
_READ_CHARACTERS = 4 << 20
_SPOOL_BYTES = 8 << 20  # beyond that a thread waits in a temporary file


class Export:
    """The lines of an export, made while they are read; iterate once.

    Each agent is consistent in itself, its record with its thread; the store as a whole is as it
    was at different moments, if it is written to meanwhile. Memory is bounded: a thread of any
    length passes through a temporary file, so that one that is trimmed or replaced while it is
    read can be read again.

    A damaged record raises its ``StorageError``, unless ``on_damage`` takes it: it is then left
    out. ``on_batch`` is told the totals now and then.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        on_batch: Callable[[Totals], object] | None = None,
        on_damage: Callable[[Space, str, StorageError], object] | None = None,
    ) -> None:
        self.totals = Totals()
        """What the lines so far have held."""
        self._storage = storage
        self._on_batch = on_batch
        self._on_damage = on_damage

    def __iter__(self) -> Iterator[bytes]:
        yield encode_header()
        with ThreadPoolExecutor(_READERS, "torpor-export") as readers:
            for space in (Space.CHECKPOINTS, Space.THREADS):
                for keys in _batches(self._storage.all_keys(space), _RECORDS_AT_ONCE):
                    yield from self._batch(space, keys, readers)
                    if self._on_batch is not None:
                        self._on_batch(self.totals)
        yield encode_end(self.totals)

    def _batch(
        self, space: Space, keys: Sequence[str], readers: ThreadPoolExecutor
    ) -> Iterator[bytes]:
        records = self._read(space, keys)
        # One after the other they would wait for a server once each.
        begins = readers.map(self._read_begin, records)
        for key, record, begin in zip(keys, records, begins, strict=True):
            yield from self._block(space, key, record, begin)

    def _read(self, space: Space, keys: Sequence[str]) -> list[Record | StorageError | None]:
        if space is Space.CHECKPOINTS:
            return self._storage.read(keys)
        return self._storage.read_records(space, keys)

    def _read_begin(self, record: Record | StorageError | None) -> Sequence[Entry]:
        """Return the first entries of a record's thread; none if they can't be had."""
        if not isinstance(record, Record) or record.thread is None:
            return ()
        head = record.thread
        try:
            stop = min(head.rev, head.start + _FIRST_ENTRIES)
            return self._storage.read_entries(head.id, head.start, stop)
        except CorruptRecordError:
            return ()  # it is read again, and then it tells

    def _block(
        self,
        space: Space,
        key: str,
        record: Record | StorageError | None,
        begin: Sequence[Entry],
    ) -> Iterator[bytes]:
        """Yield the lines of one record and its thread, once they are known to fit together."""
        while isinstance(record, Record):
            with SpooledTemporaryFile(_SPOOL_BYTES) as spool:
                try:
                    totals = self._spool(space, record, begin, spool.write)
                except CorruptRecordError as error:
                    [again] = self._read(space, [key])
                    # If it is still the same, nobody trimmed or replaced the thread meanwhile.
                    record, begin = (error if again == record else again), ()
                    continue
                self.totals += totals
                spool.seek(0)
                yield from spool
                return
        if isinstance(record, StorageError):
            if self._on_damage is None:
                raise record
            self._on_damage(space, key, record)

    def _spool(
        self,
        space: Space,
        record: Record,
        begin: Sequence[Entry],
        write: Callable[[bytes], object],
    ) -> Totals:
        line, totals = encode_record(record, space)
        write(line)
        last = None
        if record.thread is not None:
            for some in _lines_of(self._entries(record.thread, begin)):
                line, adds = encode_entries(some)
                write(line)
                totals += adds
                last = some[-1].id
            if last not in {None, record.thread.last}:
                raise CorruptRecordError(record.thread.id, f"{last!r} is not its newest entry")
        return totals

    def _entries(self, head: ThreadHead, begin: Sequence[Entry]) -> Iterator[Entry]:
        yield from begin
        seq = head.start + len(begin)
        count = _FIRST_ENTRIES
        while seq < head.rev:
            some = self._storage.read_entries(head.id, seq, min(head.rev, seq + count))
            yield from some
            seq += len(some)
            mean = sum(map(_size, some)) // len(some) + 1
            count = max(1, min(1000, _READ_CHARACTERS // mean))


def _lines_of(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Divide entries into lines, in the same way wherever they come from."""
    some: list[Entry] = []
    size = 0
    for entry in entries:
        own = _size(entry)
        if some and (len(some) == _ENTRIES_TO_A_LINE or size + own > _LINE_CHARACTERS):
            yield some
            some, size = [], 0
        some.append(entry)
        size += own
    if some:
        yield some


def _size(entry: Entry) -> int:
    """Return about how many characters an entry takes."""
    return len(str(entry.payload)) + len(str(entry.refs)) + len(entry.id) + 60


def _batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    keys = iter(keys)
    while some := list(islice(keys, size)):
        yield some
