"""Where a thread's entries are: the newest in the record, the older ones beside it.

The record and its newest entries are one item, so that one conditional write decides about
both. Before they grow too many, the next change copies them to items of their own, then drops
them from the record. What is copied was visible before, at the same place in the same thread,
so writers who race copy the same; and a reader who looks into the record first misses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor.storage import codec
from torpor.storage.dynamodb.items import (
    Item,
    entry_range,
    entry_sort,
    number,
    pieces_of,
    place,
    text,
)
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torpor.storage.plan import Write
    from torpor.storage.records import Entry, ThreadHead

__all__ = ["Journal", "Step", "StoredEntry", "advance", "items_of_entries"]

_KEPT_BYTES = 2048
"""Of entries in a record. More of them cost more with each write, fewer one more round trip."""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it is stored, sound or not."""

    seq: int
    checksum: int
    document: str

    @classmethod
    def of(cls, thread_id: str, entry: Entry) -> StoredEntry:
        """Return the form of an entry that has its ``seq``."""
        document = codec.encode_entry(entry)
        return cls(entry.seq, codec.entry_checksum(thread_id, entry.seq, document), document)

    def decoded(self, thread_id: str) -> Entry:
        """Return the entry; ``CorruptRecordError`` if it is damaged."""
        if codec.entry_checksum(thread_id, self.seq, self.document) != self.checksum:
            raise CorruptRecordError(thread_id, f"the checksum of entry {self.seq} does not fit")
        return codec.decode_entry(self.document, self.seq, thread_id)


@dataclass(frozen=True, slots=True)
class Journal:
    """The entries of a record's thread: ``recent`` ones in it, the others in ``partition``."""

    partition: str | None = None
    recent: tuple[StoredEntry, ...] = ()

    @property
    def copied(self) -> int | None:
        """The ``seq`` up to which entries are in the partition; None: as far as the head."""
        return self.recent[0].seq if self.recent else None


@dataclass(frozen=True, slots=True)
class Step:
    """What a write makes of a journal.

    First ``copied`` are put, then the record is, with ``journal``; then ``emptied`` loses all
    its items, and the journal's partition those of ``trimmed``, a range of sort keys.
    """

    journal: Journal
    copied: tuple[StoredEntry, ...] = ()
    emptied: str | None = None
    trimmed: tuple[str, str] | None = None


def advance(
    journal: Journal, stored: ThreadHead | None, write: Write, *, restores: bool = False
) -> Step:
    """Return what ``write`` makes of the journal of a record with the head ``stored``.

    Raises ``TypeError``, ``ValueError`` or ``RecursionError`` for an entry without a JSON form.
    """
    head = write.record.thread
    if head is None:
        return Step(Journal(), emptied=journal.partition)
    first = write.entries[0].seq if write.entries else head.rev
    goes_on = stored is not None and stored.id == head.id and journal.partition is not None
    if restores and first <= head.start:
        goes_on = False  # nothing of what was there is kept
    emptied = None if goes_on else journal.partition
    partition = journal.partition if goes_on else f"entries#{head.id}#{new_id()}"
    kept = [e for e in journal.recent if head.start <= e.seq < first] if goes_on else []
    new = [StoredEntry.of(head.id, entry) for entry in write.entries if entry.seq >= head.start]
    copied: tuple[StoredEntry, ...] = ()
    if _size(kept) + _size(new) > _KEPT_BYTES:
        kept, copied = [], tuple(kept)
    trims = goes_on and stored is not None and stored.start < head.start
    return Step(
        journal=Journal(partition, (*kept, *new)),
        copied=copied,
        emptied=emptied,
        trimmed=entry_range(0, head.start) if trims else None,
    )


def items_of_entries(partition: str, entries: Iterable[StoredEntry]) -> Iterator[Item]:
    """Yield the items of entries, one for each unless it is large."""
    for entry in entries:
        pieces = list(pieces_of(entry.document))
        for number_, piece in enumerate(pieces):
            yield {
                **place((partition, entry_sort(entry.seq, number_))),
                "seq": number(entry.seq),
                "checksum": number(entry.checksum),
                "pieces": number(len(pieces)),
                "document": text(piece),
            }


def _size(entries: Iterable[StoredEntry]) -> int:
    return sum(len(entry.document.encode()) for entry in entries)
