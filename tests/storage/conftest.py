"""Empty places, and storages on them that are closed after the test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.places.fixtures import all_places, empty_place, url
from tests.places.sql import MARIADB, POSTGRESQL
from torpor.storage import open_storage
from torpor.storage.faulty import FaultyStorage
from torpor.storage.file import FileStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.redis import RedisStorage
from torpor.storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.places.sql import SQLServer
    from torpor.storage import Storage

__all__ = ["all_places", "empty_place", "url"]


@pytest.fixture
def sqlite_path(empty_place: Callable[[str], str]) -> Path:
    """Return where ``sqlite`` has its file."""
    return Path(empty_place("sqlite").removeprefix("sqlite:///"))


@pytest.fixture
def sqlite(sqlite_path: Path) -> Iterator[SQLiteStorage]:
    """Return a storage in a SQLite file."""
    with SQLiteStorage(sqlite_path) as storage:
        yield storage


@pytest.fixture
def file_path(empty_place: Callable[[str], str]) -> Path:
    """Return where ``file`` has its folder."""
    return Path(empty_place("file").removeprefix("file:///"))


@pytest.fixture
def file(file_path: Path) -> Iterator[FileStorage]:
    """Return a storage in a folder of files."""
    with FileStorage(file_path) as storage:
        yield storage


@pytest.fixture
def sqlalchemy_sqlite_url(empty_place: Callable[[str], str]) -> str:
    """Return the URL of a SQLite file that SQLAlchemy opens, the one at ``sqlite_path``."""
    return empty_place("sqlalchemy-sqlite")


@pytest.fixture
def postgresql(empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return a storage in PostgreSQL."""
    with open_storage(empty_place("postgresql")) as storage:
        yield storage


@pytest.fixture
def mariadb(empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return a storage in MariaDB."""
    with open_storage(empty_place("mariadb")) as storage:
        yield storage


@pytest.fixture(params=["postgresql", "mariadb"])
def sql_server(request: pytest.FixtureRequest, empty_place: Callable[[str], str]) -> SQLServer:
    """Return each SQL server in turn, with an empty store."""
    empty_place(request.param)
    return {"postgresql": POSTGRESQL, "mariadb": MARIADB}[request.param]


@pytest.fixture
def redis_url(empty_place: Callable[[str], str]) -> str:
    """Return the URL of an empty store in Redis."""
    return empty_place("redis")


@pytest.fixture
def redis(redis_url: str) -> Iterator[RedisStorage]:
    """Return a storage in Redis."""
    with RedisStorage.from_url(redis_url) as storage:
        yield storage


@pytest.fixture
def inner() -> Iterator[Storage]:
    """Return the storage that is wrapped."""
    with MemoryStorage() as storage:
        yield storage


@pytest.fixture
def faulty(inner: Storage) -> Iterator[FaultyStorage]:
    """Return a storage that behaves until it is told not to."""
    with FaultyStorage(inner, record=True) as storage:
        yield storage
