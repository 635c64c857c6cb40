"""A DynamoDB storage whose process ends in the middle of a commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.storage.dynamodb_kit import Crash, Cut, Wire, all_items
from torpor.storage import open_storage
from torpor.storage.records import (
    Change,
    Entry,
    Record,
    Restoration,
    Saved,
    Space,
    ThreadHead,
)
from torpor.storage.testing.kit import all_pages, append, owned, payloads, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage

ENTRIES = [f"{number} {'x' * 150}" for number in range(18)]
"""A dozen of them do not fit into a record."""


def _restored(key: str) -> Change:
    """Return the change that goes on with a thread, and sets the revision back."""
    entries = tuple(
        Entry(kind="note", payload=payload, at=1.0, id=f"entry {seq}", seq=seq)
        for seq, payload in enumerate(ENTRIES[12:], start=12)
    )
    head = ThreadHead(id=f"{key}#1", rev=18, start=3, last="entry 17")
    record = Record(
        key=key, rev=1, change_id="", updated_at=1.0, data='"new"', thread=head, wake_at=7.0
    )
    return Change(key=key, restore=Restoration(record=record, entries=entries))


CHANGES: dict[str, Callable[[str], Change]] = {
    "create": lambda key: owned(key, f"{key}#1", "a", value="new", wake_at=5.0),
    "append": lambda key: owned(key, f"{key}#1", *ENTRIES[12:], value="new", wake_at=20.0),
    "trim": lambda key: owned(key, f"{key}#1", value="new", trim_before=5, wake_at=10.0),
    "replace": lambda key: owned(key, f"{key}#2", "a", value="new"),
    "enlarge": lambda key: put(key, "new" * 130_000),
    "delete": lambda key: Change(key=key, delete=True, at=1.0),
    "restore": _restored,
}


@pytest.fixture
def storage(empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return a storage that sends one request after the other."""
    with open_storage(empty_place("dynamodb"), concurrency=1) as storage:
        yield storage


def _begin(storage: Storage, what: str, key: str) -> Change:
    """Store what the change is about; return the change."""
    if what != "create":
        storage.commit([owned(key, f"{key}#1", *ENTRIES[:6], value="old", wake_at=10.0)])
        storage.commit([owned(key, f"{key}#1", *ENTRIES[6:12], value="old", wake_at=10.0)])
    return CHANGES[what](key)


def _seen(storage: Storage, key: str) -> tuple[Any, ...]:
    """Return all that there is to see of an agent."""
    found = storage.get_checkpoint(key)
    [record] = storage.read([key])
    assert record is None or isinstance(record, Record)
    listed = [other for other in all_pages(storage, Space.CHECKPOINTS, key) if other.key == key]
    due = [item.wake_at for item in storage.list_due(100.0) if item.key == key]
    assert len(listed) == (found is not None)
    assert due == ([found.wake_at] if found and found.wake_at is not None else [])
    thread = storage.load_thread(found.thread.id) if found and found.thread else None
    return (
        found and (found.rev, found.value, found.wake_at),
        thread and (thread.head.id, thread.head.start, payloads(thread)),
    )


@pytest.mark.parametrize("what", CHANGES)
def test_change_is_whole_wherever_its_process_ends(storage: Storage, what: str) -> None:
    """At each request: all is there or none, and a resend ends it (rule 1, rule 3, HC-8, HC-16)."""
    undisturbed = _begin(storage, what, "control")
    before = _seen(storage, "control")
    with Wire(storage) as wire:
        assert isinstance(storage.commit([undisturbed])[0], Saved)
    after = _seen(storage, "control")
    assert before != after

    seen: list[bool] = []
    keys = [f"agent {number}" for number in range(len(wire.operations))]
    for number, key in enumerate(keys):
        change = _begin(storage, what, key)
        with Cut(storage, number), pytest.raises(Crash):
            storage.commit([change])
        now = _renamed(_seen(storage, key), key)
        assert now in (before, after)
        seen.append(now == after)

        assert isinstance(storage.commit([change])[0], Saved)
        assert _renamed(_seen(storage, key), key) == after
    assert seen == sorted(seen)  # not there, up to a moment, and then it is
    assert seen[0] is False

    storage.vacuum(-60)
    sizes = {key: _count(storage, key) for key in ("control", *keys)}
    assert set(sizes.values()) == {sizes["control"]}, "something was left behind"


def test_create_that_never_was_is_not_listed(storage: Storage) -> None:
    """An agent whose first commit ended early is not there, and vacuum removes its traces."""
    for number in range(3):
        with Cut(storage, number), pytest.raises(Crash):
            storage.commit([owned("agent", "agent#1", "a", wake_at=5.0)])
        assert _seen(storage, "agent") == (None, None)

    storage.vacuum(-60)

    assert _count(storage, "agent") == 0


def test_standalone_thread_is_whole_too(storage: Storage) -> None:
    """The same for a thread that nobody owns (rule 1)."""
    storage.commit([append("control", *ENTRIES[:12])])
    with Wire(storage) as wire:
        storage.commit([append("control", *ENTRIES[12:])])

    for number in range(len(wire.operations)):
        storage.commit([append(f"log {number}", *ENTRIES[:12])])
        change = append(f"log {number}", *ENTRIES[12:])
        with Cut(storage, number), pytest.raises(Crash):
            storage.commit([change])
        assert payloads(storage.load_thread(change.key)) in (ENTRIES[:12], ENTRIES)
        storage.commit([change])
        assert payloads(storage.load_thread(change.key)) == ENTRIES


def _renamed(seen: Any, key: str) -> Any:
    if isinstance(seen, tuple):
        parts = cast("tuple[Any, ...]", seen)  # type: ignore[redundant-cast] # pyright needs it
        return tuple(_renamed(part, key) for part in parts)
    return seen.replace(key, "control") if isinstance(seen, str) else seen


def _count(storage: Storage, key: str) -> int:
    """Return how many items are about ``key``."""
    return sum(
        key in (part.get("S", "") for part in item.values()) or _is_of(item["pk"]["S"], key)
        for item in all_items(storage)
    )


def _is_of(partition: str, key: str) -> bool:
    return key in partition.split("#")
