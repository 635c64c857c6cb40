"""What these tests store, and how they look at it afterwards, by every public way."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from hypothesis import settings

from tests.fuzz import canary
from torpor.storage import Change, Entry, Put, Record, Saved, Space, ThreadWrite
from torpor.storage.check import check
from torpor.storage.errors import TorporError
from torpor.storage.transfer import Export

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage import Storage
    from torpor.storage.errors import StorageError

__all__ = [
    "AGENT",
    "FEWER",
    "KEYS",
    "LOG",
    "NEIGHBOUR",
    "THREAD",
    "entries",
    "fill",
    "findings",
    "look_at",
    "payloads_of",
    "quiet",
    "seal",
    "stored",
    "tampered",
]

AGENT, NEIGHBOUR, PLAIN, LOG = "counter/a", "counter/b", "counter/plain", "log"
THREAD = f"{AGENT}#1"
KEYS = (AGENT, NEIGHBOUR, PLAIN)
STATE = '{"count":5,"name":"é"}'
_EVER = 1e12

FEWER = settings(max_examples=(settings.default or settings()).max_examples // 3)
"""For what takes long: a third of the examples of the profile."""


def entries(count: int = 3) -> tuple[Entry, ...]:
    """Return entries of every shape that there is."""
    return tuple(
        Entry(
            kind="note" if seq % 2 else "event",
            payload={"text": f"é {seq}", "n": [seq, None]},
            refs={"to": "e0"} if seq else {},
            at=100.5 + seq,
            id=f"e{seq}",
        )
        for seq in range(count)
    )


def fill(storage: Storage) -> None:
    """Store agents with and without threads, and threads without agents."""
    owned = [
        Change(
            key=key,
            put=Put(data=STATE, kind="counter"),
            thread=ThreadWrite(id=f"{key}#1", entries=entries(), metadata={"made": "hère"}),
            wake_at=9e9,
            at=50.25,
        )
        for key in (AGENT, NEIGHBOUR)
    ]
    plain = Change(key=PLAIN, put=Put(data=STATE, kind="counter"), at=50.25)
    storage.commit([*owned, plain])
    storage.append_thread(LOG, entries(), metadata={"m": 1}, wake_at=9e9)
    storage.append_thread("other log", entries())


def stored(
    storage: Storage, key: str, space: Space = Space.CHECKPOINTS
) -> Record | Literal["missing", "damaged"]:
    """Return what is stored under a key, without the time that no checksum covers."""
    try:
        [found] = storage.read_records(space, [key])
    except TorporError:
        return "damaged"
    if found is None:
        return "missing"
    return replace(found, updated_at=0.0) if isinstance(found, Record) else "damaged"


def look_at(storage: Storage) -> None:
    """Read all that there is by every way; whatever is no typed error comes through."""
    looks: list[Callable[[], Any]] = [
        lambda: storage.read(KEYS),
        lambda: storage.read_records(Space.THREADS, [LOG, THREAD]),
        lambda: storage.list_due(_EVER),
        lambda: storage.list_due(_EVER, 1),
        lambda: list(storage.all_thread_ids()),
        lambda: list(storage.inspect()),
        lambda: _pages(storage.list_checkpoints),
        lambda: _pages(storage.list_threads),
        lambda: findings(storage),
        lambda: list(Export(storage)),
        lambda: list(Export(storage, on_damage=_leave_out)),
    ]
    looks += [partial(_state, storage, key) for key in KEYS]
    for space in Space:
        looks += [partial(_keys, storage, space, tombstones=all_) for all_ in (False, True)]
    for thread in (THREAD, LOG):
        looks += [
            partial(storage.thread_head, thread),
            partial(storage.load_thread, thread),
            partial(storage.load_thread, thread, after=0, limit=1),
            partial(storage.load_thread, thread, tail=1),
            partial(storage.load_thread, thread, kinds={"note"}),
            partial(storage.has_entries, thread),
        ]
    for look in looks:
        with suppress(TorporError):
            look()
    quiet()


def quiet() -> None:
    """See that nothing was executed."""
    assert canary.SONGS == []


def findings(storage: Storage) -> list[tuple[str, str]]:
    """Return what ``check`` finds, problem and place."""
    return [(finding.problem, finding.where) for finding in check(storage)]


def seal(*parts: str | bytes) -> int:
    """Return the checksum as any other program would make it, by the book."""
    raw = [
        part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts
    ]
    return zlib.crc32(b"".join(part + b"\n" for part in raw))


def _keys(storage: Storage, space: Space, *, tombstones: bool) -> list[str]:
    return list(storage.all_keys(space, tombstones=tombstones))


def _leave_out(space: Space, key: str, error: StorageError) -> None:
    del space, key, error


def _state(storage: Storage, key: str) -> Any:
    checkpoint = storage.get_checkpoint(key)
    return None if checkpoint is None else checkpoint.value


def _pages(listing: Callable[..., Any]) -> None:
    cursor: str | None = None
    for _ in range(10):  # else it goes round and round
        page = listing("", cursor=cursor, limit=1)
        cursor = page.cursor
        if cursor is None:
            return
    raise AssertionError(cursor)


def tampered(storage: Storage, key: str, data: str, payloads: list[Any] | None = None) -> None:
    """Store other data, and other payloads of its thread's entries, in place of a record's own."""
    [record] = storage.read_records(Space.CHECKPOINTS, [key])
    assert isinstance(record, Record)
    thread = None
    if record.thread is not None:
        old = storage.read_entries(record.thread.id, record.thread.start, record.thread.rev)
        new = payloads or [entry.payload for entry in old]
        written = tuple(
            replace(entry, payload=payload) for entry, payload in zip(old, new, strict=True)
        )
        thread = ThreadWrite(id=f"{key}#tampered", entries=written)
    put = Put(data=data, kind=record.kind, version=record.version)
    [outcome] = storage.commit([Change(key=key, put=put, thread=thread, wake_at=record.wake_at)])
    assert isinstance(outcome, Saved), outcome


def payloads_of(storage: Storage, key: str) -> list[Any]:
    """Return the payloads of the thread that a record owns."""
    [record] = storage.read_records(Space.CHECKPOINTS, [key])
    assert isinstance(record, Record)
    assert record.thread is not None
    thread = storage.load_thread(record.thread.id)
    return [entry.payload for entry in thread or ()]
