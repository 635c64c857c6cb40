"""Storages and empty places for the tools to work on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.places.fixtures import all_places, empty_place
from tests.tools.kit import fill
from torpor.storage import open_storage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torpor.storage import Storage

__all__ = ["all_places", "empty_place"]


@pytest.fixture
def source() -> Iterator[Storage]:
    """Return a storage with some of everything."""
    with MemoryStorage() as storage:
        fill(storage)
        yield storage


@pytest.fixture
def target() -> Iterator[Storage]:
    """Return an empty storage."""
    with MemoryStorage() as storage:
        yield storage


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a storage with some of everything."""
    url = f"sqlite:///{tmp_path}/store.db"
    with open_storage(url) as storage:
        fill(storage)
    return url
