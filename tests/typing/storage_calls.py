"""What type checkers make of calls to a storage. Checked by ``make types``, never run.

For the remarks see ``agent_calls``.
"""

from __future__ import annotations

from typing import assert_type

from torpor.storage import Checkpoint, Entry, Page, Record, Storage, Thread, open_storage


def results_are_inferred(storage: Storage) -> None:
    """What is missing is None; what is found has its own type."""
    assert_type(open_storage("memory:"), Storage)
    assert_type(storage.get_checkpoint("key"), Checkpoint | None)
    assert_type(storage.load_thread("thread"), Thread | None)
    assert_type(storage.list_checkpoints("prefix"), Page[Record])
    for record in storage.list_checkpoints():
        assert_type(record, Record)


def entries_are_typed(thread: Thread) -> None:
    """A thread yields its entries."""
    for entry in thread:
        assert_type(entry, Entry)


def a_missing_record_must_be_thought_of(storage: Storage) -> None:
    """A record that may be missing cannot be used unchecked."""
    assert storage.get_checkpoint("key").rev  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]


def keys_are_text(storage: Storage) -> None:
    """Any other key is an error."""
    storage.get_checkpoint(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
