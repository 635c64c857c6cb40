"""Reading the entries of threads, wherever they are."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

from torpor.storage import codec
from torpor.storage.dynamodb.items import Item, chunk_of, chunk_range, key_of
from torpor.storage.dynamodb.journal import Journal, StoredEntry, of_lines
from torpor.storage.dynamodb.stored import Stored, load
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from torpor.storage.dynamodb.table import Table
    from torpor.storage.records import Entry, ThreadHead

__all__ = ["read_entries", "read_entry_ids", "stored_entries"]

_ENTRIES_IN_CHUNK = 8  # about; how many chunks are asked for if a number of entries is wanted


def read_entry_ids(table: Table, places: Sequence[tuple[str, int]]) -> list[str | None]:
    """Return the id of the entry at each (thread id, seq), None where there is none."""
    threads = _threads(table, {thread_id for thread_id, _ in places})
    # Nearly always in the record; what is not costs a request each.
    return [
        _id_at(table, *threads[thread_id], seq) if thread_id in threads else None
        for thread_id, seq in places
    ]


def read_entries(  # noqa: PLR0913 - see Storage
    table: Table,
    thread_id: str,
    start: int,
    stop: int,
    *,
    kinds: Collection[str] | None,
    limit: int | None,
    newest: bool,
) -> list[Entry]:
    """Return entries with ``start <= seq < stop``; see ``Backend``."""
    found = _threads(table, {thread_id}).get(thread_id)
    if found is None:
        return []
    entries: list[Entry] = []
    hint = limit if kinds is None else None
    for stored in stored_entries(table, *found, start, stop, newest=newest, hint=hint):
        entry = stored.decoded(thread_id)
        if kinds is None or entry.kind in kinds:
            entries.append(entry)
            if len(entries) == limit:
                break
    return entries[::-1] if newest else entries


def stored_entries(  # noqa: PLR0913 - see Storage
    table: Table,
    head: ThreadHead,
    journal: Journal,
    start: int,
    stop: int,
    *,
    newest: bool = False,
    hint: int | None = None,
) -> Iterator[StoredEntry]:
    """Yield entries with ``start <= seq < stop``, in ascending or descending order.

    ``hint``: how many of them the caller is going to take.
    """
    copied = journal.copied_until(head)
    recent = [entry for entry in journal.recent if start <= entry.seq < stop]
    if newest:
        yield from reversed(recent)
    end = min(stop, copied)
    if journal.partition is not None and start < end:
        limit = None if hint is None else math.ceil(hint / _ENTRIES_IN_CHUNK)
        chunks = _Chunks(table, head.id, journal.partition, limit)
        yield from (
            chunks.newest(start, end, copied) if newest else chunks.oldest(start, end, copied)
        )
    if not newest:
        yield from recent


class _Chunks:
    """The chunks of one thread. Some hold the beginning of others: each entry is taken once."""

    def __init__(self, table: Table, thread_id: str, partition: str, limit: int | None) -> None:
        self._thread_id = thread_id
        self._table = table
        self._partition = partition
        self._limit = limit

    def oldest(self, start: int, end: int, copied: int) -> Iterator[StoredEntry]:
        """Yield the entries from ``start`` on and before ``end``, in ascending order."""
        for chunk in self._between(start, end):
            for entry in chunk:
                if start <= entry.seq < end:
                    start = entry.seq + 1
                    yield entry
        if start < end < copied:
            yield from (entry for entry in self.at(end) if start <= entry.seq < end)

    def newest(self, start: int, end: int, copied: int) -> Iterator[StoredEntry]:
        """Yield the same in descending order."""
        if end < copied:
            for entry in reversed(self.at(end - 1)):
                if start <= entry.seq < end:
                    end = entry.seq
                    yield entry
        for chunk in self._between(start, end, newest=True) if start < end else ():
            for entry in reversed(chunk):
                if start <= entry.seq < end:
                    end = entry.seq
                    yield entry

    def at(self, seq: int) -> tuple[StoredEntry, ...]:
        """Return the entries of a chunk that holds ``seq``, if one does."""
        within = chunk_range(seq, None)
        items, _ = self._table.page(self._partition, self._table.deadline(), within=within, limit=1)
        if items and self._pieces(items[0]) != 1:
            prefix = chunk_of(items[0])
            items = list(self._table.query(self._partition, self._table.deadline, prefix=prefix))
        return next(self._joined(items), ())

    def _between(
        self, start: int, end: int, *, newest: bool = False
    ) -> Iterator[tuple[StoredEntry, ...]]:
        """Yield the chunks that end with one of these entries."""
        items = self._table.query(
            self._partition,
            self._table.deadline,
            within=chunk_range(start, end),
            newest=newest,
            limit=self._limit,
        )
        return self._joined(items)

    def _joined(self, items: Iterable[Item]) -> Iterator[tuple[StoredEntry, ...]]:
        """Yield the chunks of items; none of which pieces are missing."""
        for _, group in groupby(items, key=chunk_of):
            pieces = sorted(group, key=lambda item: key_of(item)[1])
            if len(pieces) != self._pieces(pieces[0]):
                continue
            try:
                entries = of_lines("".join(piece["lines"]["S"] for piece in pieces))
            except codec.UNDECODABLE as error:
                raise self._damage(error) from error
            yield entries

    def _pieces(self, item: Item) -> int:
        try:
            return int(item["pieces"]["N"])
        except codec.UNDECODABLE as error:
            raise self._damage(error) from error

    def _damage(self, error: Exception) -> CorruptRecordError:
        return CorruptRecordError(self._thread_id, f"an undecodable chunk of entries: {error!r}")


def _threads(table: Table, ids: Iterable[str]) -> dict[str, tuple[ThreadHead, Journal]]:
    """Return heads and journals of threads, be they owned or standalone."""
    deadline = table.deadline()
    left = set(ids)
    found: dict[str, tuple[ThreadHead, Journal]] = {}
    for space in Space:  # owners first: of a thread that is read, most have one
        keys = (
            {id_.rpartition("#")[0] for id_ in left} - {""} if space is Space.CHECKPOINTS else left
        )
        for stored in load(table, space, sorted(keys), deadline).values():
            if isinstance(stored, Stored) and (head := stored.record.thread) is not None:
                found[head.id] = head, stored.journal
        left -= found.keys()
    return found


def _id_at(table: Table, head: ThreadHead, journal: Journal, seq: int) -> str | None:
    """Return the id of an entry; none that any entry has, if it is broken."""
    try:
        [entry] = stored_entries(table, head, journal, seq, seq + 1)
        return str(codec.decode_entry(entry.document, 0, "").id)
    except ValueError:  # there is none
        return None
    except CorruptRecordError:
        return ""
