"""The contract of every storage, at the place that the tests have for a backend."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import pytest

from torpor.storage import open_storage
from torpor.storage.testing import StorageContract

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

    def opener(self, storage: Storage) -> Callable[[], Storage]:  # noqa: ARG002 - there is one
        """Open the same place."""
        return partial(open_storage, self.url)
