"""Which backends there are to be tested, each with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.places.dynamodb import DYNALITE
from tests.places.local import FilePlace, MemoryPlace
from tests.places.mongodb import MONGODB
from tests.places.redis import REDIS
from tests.places.sql import MARIADB, POSTGRESQL

if TYPE_CHECKING:
    from tests.places.base import Place

__all__ = ["FEATURE_PLACES", "PLACES", "SHARED"]

PLACES: dict[str, Place] = {
    "memory": MemoryPlace(),
    "file": FilePlace("file"),
    "sqlite": FilePlace("sqlite"),
    "sqlalchemy-sqlite": FilePlace("sqlite+sqlalchemy"),
    "postgresql": POSTGRESQL,
    "mariadb": MARIADB,
    "mongodb": MONGODB,
    "redis": REDIS,
    "dynamodb": DYNALITE,
}
"""By the name of their backend."""

SHARED = [name for name, place in PLACES.items() if place.shared]
"""Those that outlive the process that writes, and that others reach."""

FEATURE_PLACES = [
    "memory",
    "sqlite",
    "postgresql",
    *(
        pytest.param(name, marks=[pytest.mark.slow, pytest.mark.timeout(300)])
        for name in PLACES
        if name not in {"memory", "sqlite", "postgresql"}
    ),
]
"""For what is built on storages: three kinds always, the others by ``make test-full``."""
