"""Checkpoints and threads: the contract, its records and the backends behind it."""

from __future__ import annotations

from torpor.storage.base import Storage
from torpor.storage.encoding import Codec
from torpor.storage.records import (
    Change,
    Checkpoint,
    Conflict,
    Due,
    Entry,
    Page,
    Put,
    Record,
    Rejected,
    Restoration,
    Saved,
    Space,
    Thread,
    ThreadHead,
    ThreadWrite,
)
from torpor.storage.urls import open_storage

__all__ = [
    "Change",
    "Checkpoint",
    "Codec",
    "Conflict",
    "Due",
    "Entry",
    "Page",
    "Put",
    "Record",
    "Rejected",
    "Restoration",
    "Saved",
    "Space",
    "Storage",
    "Thread",
    "ThreadHead",
    "ThreadWrite",
    "open_storage",
]
