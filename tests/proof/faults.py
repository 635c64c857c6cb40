"""What is wrong in a store, found by reading all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.storage.errors import StorageError
from torpor.storage.records import Space
from torpor.storage.testing.kit import all_pages

if TYPE_CHECKING:
    from torpor.storage import Storage

__all__ = ["faults_in"]


def faults_in(storage: Storage) -> list[str]:
    """Return each record whose thread is not whole, or that can't be read."""
    faults: list[str] = []
    for space in Space:
        for record in all_pages(storage, space):
            head = record.thread
            if head is None:
                continue
            try:
                thread = storage.load_thread(head.id)
            except StorageError as error:
                faults.append(f"{record.key}: {error!r}")
                continue
            seqs = [entry.seq for entry in thread or ()]
            if thread is None or seqs != list(range(head.start, head.rev)):
                faults.append(f"{record.key}: {head} but entries {seqs[:3]} … {seqs[-3:]}")
    return faults
