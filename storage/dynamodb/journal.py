"""Where a thread's entries are: the newest in the record, the older ones beside it, in chunks.

The record and its newest entries are one item, so that one conditional write decides about
both. Before they grow too many, the next change copies them to a chunk, then drops them from the
record. What is copied was visible before, at the same place in the same thread: writers who race
copy the same, some of them less of it, and a reader who looks into the record first misses
nothing. A chunk is named by its last and its first ``seq``, so one is never replaced by another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor.storage import codec
from torpor.storage.dynamodb.items import Item, chunk_range, chunk_sort, number, place, split, text
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torpor.storage.plan import Write
    from torpor.storage.records import Entry, ThreadHead

__all__ = ["Journal", "Step", "StoredEntry", "advance", "chunk_items", "lines_of", "of_lines"]

_KEPT_BYTES = 2048
"""Of entries in a record. More of them cost more with each write, fewer one more round trip."""
_CHUNK_CHARACTERS = 4_000
"""Of entries in a chunk, unless one has more: reading up to 4 KB costs the same as reading less."""


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


def lines_of(entries: Iterable[StoredEntry]) -> str:
    """Return entries as text: a line each, of seq, checksum and JSON (on one line)."""
    return "\n".join(f"{e.seq} {e.checksum} {e.document}" for e in entries)


def of_lines(lines: str) -> tuple[StoredEntry, ...]:
    """Return the entries of a text. Raises ``ValueError`` if it is none of ``lines_of``."""
    parts = (line.split(" ", 2) for line in lines.split("\n") if line)
    return tuple(
        StoredEntry(int(seq), int(checksum), document) for seq, checksum, document in parts
    )


@dataclass(frozen=True, slots=True)
class Journal:
    """The entries of a record's thread: ``recent`` ones in it, the others in ``partition``."""

    partition: str | None = None
    recent: tuple[StoredEntry, ...] = ()

    def copied_until(self, head: ThreadHead) -> int:
        """Return the first ``seq`` that is not in the partition."""
        return self.recent[0].seq if self.recent else head.rev


@dataclass(frozen=True, slots=True)
class Step:
    """What a write makes of a journal.

    First ``copied`` are put, then the record is, with ``journal``; then its partition loses the
    items of ``trimmed``, a range of sort keys.
    """

    journal: Journal
    copied: tuple[StoredEntry, ...] = ()
    trimmed: tuple[str, str] | None = None


def advance(journal: Journal, stored: ThreadHead | None, write: Write) -> Step:
    """Return what ``write`` makes of the journal of a record with the head ``stored``.

    Raises ``TypeError``, ``ValueError`` or ``RecursionError`` for an entry without a JSON form.
    """
    head = write.record.thread
    if head is None:
        return Step(Journal())
    goes_on = stored is not None and stored.id == head.id
    partition = journal.partition if goes_on else None
    kept = [entry for entry in journal.recent if entry.seq >= head.start] if goes_on else []
    new = [StoredEntry.of(head.id, entry) for entry in write.entries if entry.seq >= head.start]
    copied: tuple[StoredEntry, ...] = ()
    if _size(kept) + _size(new) > _KEPT_BYTES:
        kept, copied = [], tuple(kept)
    trims = partition is not None and stored is not None and stored.start < head.start
    return Step(
        journal=Journal(partition or f"entries#{head.id}#{new_id()}", (*kept, *new)),
        copied=copied,
        trimmed=chunk_range(0, head.start) if trims else None,
    )


def chunk_items(partition: str, entries: Sequence[StoredEntry]) -> Iterator[Item]:
    """Yield the items of entries: chunks of them, large entries in several pieces."""
    for chunk in _chunks(entries):
        pieces = split(lines_of(chunk))
        for count, piece in enumerate(pieces):
            yield {
                **place((partition, chunk_sort(chunk[0].seq, chunk[-1].seq, count))),
                "pieces": number(len(pieces)),
                "lines": text(piece),
            }


def _chunks(entries: Sequence[StoredEntry]) -> Iterator[Sequence[StoredEntry]]:
    """Yield runs of entries that depend on nothing but where the first one begins."""
    chunk: list[StoredEntry] = []
    size = 0
    for entry in entries:
        if chunk and size + len(entry.document) > _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += len(entry.document)
    if chunk:
        yield chunk


def _size(entries: Iterable[StoredEntry]) -> int:
    return sum(len(entry.document.encode()) for entry in entries)
