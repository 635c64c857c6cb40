"""The command that carries out one planned write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.storage.redis.documents import encode_entry
from torpor.storage.redis.scripts import REPLACE, WRITE
from torpor.storage.redis.server import run_script

if TYPE_CHECKING:
    from torpor.storage.plan import Write
    from torpor.storage.records import Record
    from torpor.storage.redis.documents import Stored
    from torpor.storage.redis.layout import Layout, RecordKeys
    from torpor.storage.redis.server import Command

__all__ = ["write_command"]

_NO = b""
_ADD = b"+"
_REMOVE = b"-"


def write_command(  # noqa: PLR0913 - the last two are keywords
    layout: Layout,
    place: RecordKeys,
    write: Write,
    stored: Stored | None,
    *,
    value: bytes,
    ttl: int | None,
) -> Command:
    """Return the command that makes ``write``, planned for ``stored``, of a record.

    Args:
        layout: Where things are.
        place: Where the record is.
        write: What to do.
        stored: What it was planned for, and what must still be there.
        value: The new record, encoded.
        ttl: Milliseconds after which record and thread expire.

    Raises ``TypeError``, ``ValueError`` or ``RecursionError`` if an entry has no form to write.
    """
    record, old = write.record, stored.record if stored else None
    expires = _NO if ttl is None else ttl
    listed, wake = _listed(record, old), _wake(record, old)
    alone = record.thread is None and write.drop_thread is None
    if stored is not None and alone and listed == wake == _NO:
        return run_script(REPLACE, [place.record], stored.header, value, expires)
    keys = [place.record, place.listing, place.wake, place.deleted]
    thread: tuple[bytes | int, ...] = _NO, _NO, _NO
    entries: list[bytes | int] = []
    head = record.thread
    if head is not None:
        keys.append(layout.entries(head.id))
        thread = (
            head.rev - len(write.entries),
            int(_begins(write, old)),
            head.start if write.trim_before is not None else _NO,
        )
        for entry in write.entries:
            entries += encode_entry(head.id, entry)
    if write.drop_thread is not None:
        keys.append(layout.entries(write.drop_thread))
    return run_script(
        WRITE,
        keys,
        stored.header if stored else _NO,
        value,
        expires,
        place.key,
        place.member,
        listed,
        wake,
        record.updated_at if record.deleted else _NO,
        *thread,
        *entries,
    )


def _begins(write: Write, old: Record | None) -> bool:
    head, old_head = write.record.thread, old.thread if old else None
    return head is None or old_head is None or head.id != old_head.id


def _listed(record: Record, old: Record | None) -> bytes:
    if record.deleted:
        return _REMOVE
    return _ADD if old is None or old.deleted else _NO


def _wake(record: Record, old: Record | None) -> bytes | float:
    if record.wake_at is not None:
        return float(record.wake_at)
    # A record that expired, or was evicted, may have left its time behind.
    return _REMOVE if old is None or old.wake_at is not None else _NO
