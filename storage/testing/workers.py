"""What the processes do that ``StorageContract`` starts beside its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.storage.records import Conflict
from torpor.storage.testing.kit import append, increment, owned

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from torpor.storage.base import Storage

__all__ = ["append_by_expected_rev", "commit_until_killed", "hammer"]


def hammer(open_again: Callable[[], Storage], keys: list[str], rounds: int) -> None:
    """Add 1 to each counter, ``rounds`` times."""
    with open_again() as storage:
        for _ in range(rounds):
            for key in keys:
                increment(storage, key)


def append_by_expected_rev(
    open_again: Callable[[], Storage], thread_id: str, name: str, count: int
) -> None:
    """Append ``count`` entries, each where this process believes the end of the thread to be."""
    with open_again() as storage:
        rev = 0
        for number in range(count):
            while True:
                [outcome] = storage.commit([append(thread_id, [name, number], expected_rev=rev)])
                if not isinstance(outcome, Conflict):
                    rev += 1
                    break
                rev = outcome.found


def commit_until_killed(
    open_again: Callable[[], Storage], keys: list[str], acknowledged: Connection
) -> None:
    """Write to all ``keys`` at once, again and again, and tell of each batch that was saved.

    Each write makes the number under its key one more and appends it to the key's thread; what
    is told is the numbers of all keys.
    """
    with open_again() as storage:
        numbers = {
            key: found.value if (found := storage.get_checkpoint(key)) else 0 for key in keys
        }
        while True:
            for key in keys:
                numbers[key] += 1
            storage.commit(
                [owned(key, f"{key}#1", numbers[key], value=numbers[key]) for key in keys]
            )
            acknowledged.send(numbers)
