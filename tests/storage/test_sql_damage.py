"""What is gone from a SQL database is missed, by the records and by the tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.storage.sql_kit import remove_entry, remove_record
from torpor.storage import Space, Storage, open_storage
from torpor.storage.check import check
from torpor.storage.errors import MissingThreadError, ThreadMismatchError
from torpor.storage.testing.kit import append, owned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(params=["postgresql", "mariadb", "sqlalchemy-sqlite"])
def storage(request: pytest.FixtureRequest, empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return a storage with an agent and a thread of three entries each."""
    with open_storage(empty_place(request.param)) as storage:
        storage.commit([owned("agent", "agent#1", "a", "b", "c"), append("log", "a", "b", "c")])
        yield storage


@pytest.mark.parametrize(
    ("space", "key", "orphan"),
    [(Space.CHECKPOINTS, "agent", "agent#1"), (Space.THREADS, "log", "log")],
)
def test_entries_without_a_record_are_found(
    storage: Storage, space: Space, key: str, orphan: str
) -> None:
    """They are orphans, and a finding of each check."""
    remove_record(storage, space, key)

    assert [(finding.problem, finding.where) for finding in check(storage)] == [("orphan", orphan)]


def test_a_thread_that_ends_too_soon_is_not_called_missing(storage: Storage) -> None:
    """Its record disagrees with what there is; only where nothing is, it is missing (5.3)."""
    remove_entry(storage, "agent#1", 2)
    [cut] = storage.read(["agent"])
    for seq in (0, 1):
        remove_entry(storage, "agent#1", seq)
    [gone] = storage.read(["agent"])

    assert isinstance(cut, ThreadMismatchError)
    assert isinstance(gone, MissingThreadError)
