"""``FaultyStorage`` tears batches, and makes conflicts up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from torpor.storage import Conflict, Saved, Storage
from torpor.storage.errors import ConflictError, StorageUnavailableError
from torpor.storage.testing.kit import put

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage


@pytest.mark.parametrize(("applied", "written"), [(0, []), (2, ["a", "b"]), (9, ["a", "b", "c"])])
def test_torn_batch(
    faulty: FaultyStorage, inner: Storage, applied: int, written: list[str]
) -> None:
    """Only the first changes of a torn batch are written, and the caller can't know which."""
    faulty.tear_next(applied)

    with pytest.raises(StorageUnavailableError):
        faulty.commit([put(key) for key in "abc"])

    assert [record.key for record in inner.list_checkpoints()] == written


def test_conflict_writes_nothing_and_passes(faulty: FaultyStorage, inner: Storage) -> None:
    """A made-up conflict is answered like a real one, and whoever reads again can go on."""
    faulty.put_checkpoint("agent", 1)
    faulty.conflict_next()

    with pytest.raises(ConflictError) as caught:
        faulty.put_checkpoint("agent", 2, expected_rev=1)
    assert (caught.value.expected, caught.value.found) == (1, 2)
    found = inner.get_checkpoint("agent")
    assert found is not None
    assert (found.rev, found.value) == (1, 1)

    assert faulty.put_checkpoint("agent", 2, expected_rev=1) == 2


def test_conflict_befalls_some_of_a_batch(faulty: FaultyStorage) -> None:
    """Changes of other keys, and those that compare nothing, are committed in their places."""
    faulty.conflict_next(keys={"b", "c"})

    outcomes = faulty.commit(
        [put("a", expected_rev=0), put("b", expected_rev=0), put("c"), put("d", expected_rev=7)]
    )

    assert outcomes == [Saved(1), Conflict("b", 0, 1), Saved(1), Conflict("d", 7, 0)]
