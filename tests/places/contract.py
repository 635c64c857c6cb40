"""The contract of every storage, at the place that the tests have for a backend."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import pytest

from torpor.storage import Space, open_storage
from torpor.storage.check import check
from torpor.storage.testing import StorageContract
from torpor.storage.testing.kit import needs, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage

__all__ = ["PlaceContract"]


class PlaceContract(StorageContract):
    """A subclass names its ``backend`` and defines the hooks that it can have."""

    backend: ClassVar[str]
    url: str

    @pytest.fixture
    def storage(self, empty_place: Callable[[str], str]) -> Iterator[Storage]:
        """Return a storage on an empty place."""
        self.url = empty_place(self.backend)
        with open_storage(self.url) as storage:
            yield storage

    @needs("damageable")
    def test_check_names_what_is_damaged(self, storage: Storage) -> None:
        """A damaged record, and a damaged head, are found where nobody asks for them by key."""
        storage.commit([put(key, {"text": "original"}) for key in "abc"])
        storage.append_thread("log", {"payload": 1}, metadata={"m": 1})
        self.damage_record(storage, Space.CHECKPOINTS, "b")
        self.damage_record(storage, Space.THREADS, "log")

        found = [(finding.problem, finding.where) for finding in check(storage)]

        assert found == [("record", "b"), ("record", "log")]

    def opener(self, storage: Storage) -> Callable[[], Storage]:  # noqa: ARG002 - there is one
        """Open the same place."""
        return partial(open_storage, self.url)
