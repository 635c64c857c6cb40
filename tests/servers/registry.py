"""Which servers a test may start, stop and crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.servers.dynamodb import PrivateDynalite
from tests.servers.mariadb import PrivateMariaDB
from tests.servers.mongodb import PrivateMongoDB
from tests.servers.postgresql import PrivatePostgreSQL
from tests.servers.redis import PrivateRedis

if TYPE_CHECKING:
    from tests.servers.base import PrivateServer

__all__ = ["SERVERS"]

SERVERS: dict[str, type[PrivateServer]] = {
    "postgresql": PrivatePostgreSQL,
    "mariadb": PrivateMariaDB,
    "mongodb": PrivateMongoDB,
    "redis": PrivateRedis,
    "dynamodb": PrivateDynalite,
}
"""By the name of their backend."""
