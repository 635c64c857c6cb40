"""Where chaos runs store: a SQLite file, and a PostgreSQL of their own that may be stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.run import Place
from tests.chaos.worker import STORAGE_TIMEOUT
from tests.servers.postgresql import PrivatePostgreSQL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["PLACES", "postgresql", "sqlite"]


def sqlite(folder: Path) -> Place:
    """Return a file in ``folder``."""
    file = folder / "store.db"
    return Place(url=f"sqlite:///{file}?busy_timeout={STORAGE_TIMEOUT}", file=file)


def postgresql(_: Path) -> Place:
    """Return a server of its own."""
    server = PrivatePostgreSQL()
    return Place(url=f"{server.url}?timeout={STORAGE_TIMEOUT}", server=server)


PLACES: Mapping[str, Callable[[Path], Place]] = {"sqlite": sqlite, "postgresql": postgresql}
