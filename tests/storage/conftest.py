"""One fixture for each backend: a new, empty storage, closed after the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import torpor.storage.testing  # noqa: F401 - first: it has pytest rewrite the asserts of its parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torpor.storage import Storage


@pytest.fixture
def memory() -> Iterator[Storage]:
    """Return a storage in memory."""
    from torpor.storage.memory import MemoryStorage  # noqa: PLC0415 - only if it is tested

    with MemoryStorage() as storage:
        yield storage


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    """Return where ``sqlite`` has its file."""
    return tmp_path / "store.db"


@pytest.fixture
def sqlite(sqlite_path: Path) -> Iterator[Storage]:
    """Return a storage in a SQLite file."""
    from torpor.storage.sqlite import SQLiteStorage  # noqa: PLC0415 - only if it is tested

    with SQLiteStorage(sqlite_path) as storage:
        yield storage


@pytest.fixture
def file_path(tmp_path: Path) -> Path:
    """Return where ``file`` has its folder."""
    return tmp_path / "store"


@pytest.fixture
def file(file_path: Path) -> Iterator[Storage]:
    """Return a storage in a folder of files."""
    from torpor.storage.file import FileStorage  # noqa: PLC0415 - only if it is tested

    with FileStorage(file_path) as storage:
        yield storage
