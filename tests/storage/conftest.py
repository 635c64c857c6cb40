"""One fixture for each backend: a new, empty storage, closed after the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.storage.sql_kit import Server
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


@pytest.fixture(scope="session")
def sql_servers() -> Iterator[dict[str, Server]]:
    """Return the SQL servers; what the tests made there is dropped at the end."""
    from tests.storage.sql_kit import SERVERS  # noqa: PLC0415 - only if they are tested

    yield SERVERS
    for server in SERVERS.values():
        server.drop()


@pytest.fixture(params=["postgresql", "mariadb"])
def sql_server(request: pytest.FixtureRequest, sql_servers: dict[str, Server]) -> Server:
    """Return each SQL server in turn, with an empty store."""
    server = sql_servers[request.param]
    server.require()
    server.empty()
    return server


@pytest.fixture
def postgresql_url(sql_servers: dict[str, Server]) -> str:
    """Return the URL of an empty store in PostgreSQL."""
    sql_servers["postgresql"].require()
    return sql_servers["postgresql"].empty()


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Storage]:
    """Return a storage in PostgreSQL."""
    with open_storage(postgresql_url) as storage:
        yield storage


@pytest.fixture
def mariadb_url(sql_servers: dict[str, Server]) -> str:
    """Return the URL of an empty store in MariaDB."""
    sql_servers["mariadb"].require()
    return sql_servers["mariadb"].empty()


@pytest.fixture
def mariadb(mariadb_url: str) -> Iterator[Storage]:
    """Return a storage in MariaDB."""
    with open_storage(mariadb_url) as storage:
        yield storage


@pytest.fixture
def sqlalchemy_sqlite_url(sqlite_path: Path) -> str:
    """Return the URL of a SQLite file that SQLAlchemy opens."""
    return f"sqlite+sqlalchemy:///{sqlite_path}"


@pytest.fixture
def sqlalchemy_sqlite(sqlalchemy_sqlite_url: str) -> Iterator[Storage]:
    """Return a storage in a SQLite file, by way of SQLAlchemy."""
    with open_storage(sqlalchemy_sqlite_url) as storage:
        yield storage
