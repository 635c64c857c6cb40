"""What one change makes of one stored record: the rules of revisions, in one pure function.

Backends that can read and then write under one lock or transaction call ``plan`` and carry out
the ``Write`` it returns. A backend that decides on its server must come to the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torpor.storage.records import Conflict, Record, Saved, Space, ThreadHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Change, Entry, Restoration, ThreadWrite

__all__ = ["Write", "plan", "plan_unread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """What to do, all of it or nothing.

    1. ``record`` replaces the stored one. 2. ``entries``, whose ``seq`` is set, are written to
    the thread ``record.thread.id``, replacing stray ones at or after the first ``seq``.
    3. Every entry of ``drop_thread`` is removed. 4. Entries of the record's thread with a
    ``seq`` below ``trim_before`` are removed.
    """

    record: Record
    entries: tuple[Entry, ...] = ()
    drop_thread: str | None = None
    trim_before: int | None = None

    @property
    def outcome(self) -> Saved:
        """What the change is answered once this write is durable."""
        return Saved(self.record.rev, self.record.thread)


def plan(change: Change, stored: Record | None) -> Write | Saved | Conflict:
    """Decide ``change`` against ``stored`` (None = nothing there, not even a tombstone).

    ``Saved`` means that there is nothing to write: a resend of what is stored already, or the
    removal of what is not there.
    """
    if stored is not None and stored.change_id == change.id:
        return Saved(stored.rev, stored.thread)
    current = None if stored is None or stored.deleted else stored
    found = current.rev if current else 0
    if change.expected_rev is not None and change.expected_rev != found:
        return Conflict(change.key, change.expected_rev, found)
    last_rev = stored.rev if stored else 0
    if change.restore is not None:
        return _restore(change, change.restore, current)
    if change.delete:
        return _delete(change, current, last_rev)
    head, entries = _write_thread(change, current, last_rev)
    owned = current.thread if current else None
    replaced = owned is not None and head is not None and owned.id != head.id
    trim = change.thread.trim_before if change.thread else None
    record = Record(
        key=change.key,
        rev=_next_rev(change, head, last_rev),
        change_id=change.id,
        updated_at=change.at,
        kind=change.put.kind if change.put else "",
        version=change.put.version if change.put else 1,
        data=change.put.data if change.put else None,
        thread=head,
        wake_at=change.wake_at,
    )
    return Write(
        record=record,
        entries=entries,
        drop_thread=owned.id if owned is not None and replaced else None,
        trim_before=trim,
    )


def plan_unread(changes: Sequence[Change]) -> list[Record] | None:
    """Return what ``changes`` write if nothing but revisions has to be known, else None.

    That is documents of records that stand at the expected revision, or are new (``rev`` 1),
    and have no thread; whoever writes them makes sure of it.
    """
    records: list[Record] = []
    for change in changes:
        put, rev = change.put, change.expected_rev
        bare = change.thread is None and change.restore is None
        if put is None or rev is None or not bare or change.space is not Space.CHECKPOINTS:
            return None
        record = Record(
            key=change.key,
            rev=rev + 1,
            change_id=change.id,
            updated_at=change.at,
            kind=put.kind,
            version=put.version,
            data=put.data,
            wake_at=change.wake_at,
        )
        records.append(record)
    return records


def _restore(change: Change, restoration: Restoration, current: Record | None) -> Write | Conflict:
    record = replace(restoration.record, change_id=change.id)
    head = record.thread
    owned = current.thread if current else None
    begun = owned if owned is not None and head is not None and owned.id == head.id else None
    # A thread that never had an entry has revision 0, and is there all the same.
    is_there = change.expected_rev == 0 and current is not None
    if is_there or (head is not None and not _goes_on(restoration, head, begun)):
        return Conflict(change.key, change.expected_rev, current.rev if current else 0)
    return Write(
        record=record,
        entries=restoration.entries,
        drop_thread=owned.id if owned is not None and begun is None else None,
        trim_before=head.start if head else None,
    )


def _goes_on(restoration: Restoration, head: ThreadHead, begun: ThreadHead | None) -> bool:
    """Return whether what is restored leaves no gap behind what is stored, nor overwrites it.

    An entry that the stored head covers can't be replaced: a backend that writes heads last
    would show new entries under the old head.
    """
    first = head.rev - len(restoration.entries)
    if begun is None:
        return first == head.start
    return (
        begun.rev == first
        and begun.start <= head.start
        and (bool(restoration.entries) or begun.last == head.last)
    )


def _next_rev(change: Change, head: ThreadHead | None, last_rev: int) -> int:
    if change.space is Space.THREADS and head is not None:
        return head.rev
    return last_rev + 1


def _delete(change: Change, current: Record | None, last_rev: int) -> Write | Saved:
    if current is None:
        return Saved(last_rev)
    tombstone = Record(
        key=change.key,
        rev=last_rev,
        change_id=change.id,
        updated_at=change.at,
        deleted=True,
    )
    return Write(
        record=tombstone,
        drop_thread=current.thread.id if current.thread else None,
    )


def _write_thread(
    change: Change, current: Record | None, last_rev: int
) -> tuple[ThreadHead | None, tuple[Entry, ...]]:
    head = current.thread if current else None
    write = change.thread
    if write is None:
        return head, ()
    if head is None or head.id != write.id:
        head = _new_head(change, write, last_rev)
    entries = tuple(
        replace(entry, seq=seq) for seq, entry in enumerate(write.entries, start=head.rev)
    )
    rev = head.rev + len(entries)
    start = head.start
    if write.trim_before is not None:
        start = max(start, min(write.trim_before, rev))
    return (
        replace(
            head,
            rev=rev,
            start=start,
            last=entries[-1].id if entries else head.last,
            updated_at=max(head.updated_at, change.at) if entries else head.updated_at,
        ),
        entries,
    )


def _new_head(change: Change, write: ThreadWrite, last_rev: int) -> ThreadHead:
    begin = last_rev if change.space is Space.THREADS else 0
    return ThreadHead(
        id=write.id,
        rev=begin,
        start=begin,
        created_at=change.at,
        updated_at=change.at,
        metadata=dict(write.metadata or {}),
    )
