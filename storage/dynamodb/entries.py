"""Reading the entries of threads, wherever they are."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from torpor.storage import codec
from torpor.storage.dynamodb.items import Item, Key, entry_range, entry_sort, key_of
from torpor.storage.dynamodb.journal import Journal, StoredEntry
from torpor.storage.dynamodb.stored import Stored, load
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from torpor.storage.dynamodb.table import Table
    from torpor.storage.records import Entry

__all__ = ["read_entries", "read_entry_ids"]


def read_entry_ids(table: Table, places: Sequence[tuple[str, int]]) -> list[str | None]:
    """Return the id of the entry at each (thread id, seq), None where there is none."""
    deadline = table.deadline()
    journals = _journals(table, {thread_id for thread_id, _ in places}, deadline)
    found: dict[tuple[str, int], StoredEntry] = {}
    elsewhere: dict[Key, tuple[str, int]] = {}
    for thread_id, seq in places:
        journal = journals.get(thread_id, Journal())
        found |= {(thread_id, entry.seq): entry for entry in journal.recent if entry.seq == seq}
        if (thread_id, seq) not in found and journal.partition is not None:
            elsewhere[journal.partition, entry_sort(seq)] = thread_id, seq
    for key, item in table.get_all(elsewhere, deadline).items():
        for entry in _joined([item]):
            found[elsewhere[key]] = entry
        if elsewhere[key] not in found:  # in pieces
            seq = elsewhere[key][1]
            pieces = table.query(key[0], table.deadline, within=entry_range(seq, seq + 1))
            found |= {(elsewhere[key][0], entry.seq): entry for entry in _joined(pieces)}
    return [_id(found.get(place)) for place in places]


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
    journal = _journals(table, {thread_id}, table.deadline()).get(thread_id)
    if journal is None:
        return []
    entries: list[Entry] = []
    for stored in _stored(table, journal, start, stop, newest=newest, limit=limit):
        entry = stored.decoded(thread_id)
        if kinds is None or entry.kind in kinds:
            entries.append(entry)
            if len(entries) == limit:
                break
    return entries[::-1] if newest else entries


def _stored(  # noqa: PLR0913 - see Storage
    table: Table, journal: Journal, start: int, stop: int, *, newest: bool, limit: int | None
) -> Iterator[StoredEntry]:
    recent = [entry for entry in journal.recent if start <= entry.seq < stop]
    end = min(stop, journal.recent[0].seq) if journal.recent else stop
    if newest:
        yield from reversed(recent)
    if journal.partition is not None and start < end:
        items = table.query(
            journal.partition,
            table.deadline,
            within=entry_range(start, end),
            newest=newest,
            limit=limit,
        )
        yield from _joined(items)
    if not newest:
        yield from recent


def _journals(table: Table, thread_ids: Iterable[str], deadline: float) -> dict[str, Journal]:
    """Return the journals of threads, be they owned or standalone."""
    owners = {id_: id_.rpartition("#")[0] for id_ in thread_ids}
    found: dict[str, Journal] = {}
    for space, keys in (
        (Space.CHECKPOINTS, {owner for owner in owners.values() if owner}),
        (Space.THREADS, owners.keys()),
    ):
        wanted = sorted(keys) if space is Space.CHECKPOINTS else sorted(keys - found.keys())
        for stored in load(table, space, wanted, deadline).values():
            if isinstance(stored, Stored) and stored.record.thread is not None:
                found.setdefault(stored.record.thread.id, stored.journal)
    return found


def _joined(items: Iterable[Item]) -> Iterator[StoredEntry]:
    """Yield the entries of items of a partition; none of which pieces are missing."""
    for seq, group in groupby(items, key=lambda item: int(item["seq"]["N"])):
        pieces = sorted(group, key=lambda item: key_of(item)[1])
        if len(pieces) == int(pieces[0]["pieces"]["N"]):
            document = "".join(piece["document"]["S"] for piece in pieces)
            yield StoredEntry(seq, int(pieces[0]["checksum"]["N"]), document)


def _id(entry: StoredEntry | None) -> str | None:
    """Return the id in an entry; none that any entry has, if it is broken."""
    if entry is None:
        return None
    try:
        return str(codec.decode_entry(entry.document, 0, "").id)
    except (CorruptRecordError, TypeError):
        return ""
