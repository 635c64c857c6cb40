"""The MongoDB server of the tests, and a database of its own for each of them."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any, ClassVar

from pymongo import MongoClient

from tests.places.base import Place
from tests.servers.mongodb import PrivateMongoDB

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MONGODB", "MongoDBPlace", "StandaloneMongoDB"]

_VARIABLE = "TORPOR_TEST_MONGODB"
_OPTIONS = "?timeout=30"  # the stand-in takes seconds for what MongoDB does in milliseconds


class StandaloneMongoDB(PrivateMongoDB):
    """A server without a replica set: no transactions, no retryable writes."""

    settings: ClassVar[tuple[str, ...]] = ("--standalone",)


class MongoDBPlace(Place):
    """A stand-in for MongoDB that is started when it is first needed.

    ``TORPOR_TEST_MONGODB`` may name a server that runs, as ``mongodb://host:port``; nothing of
    what it holds is touched but databases with an unheard-of name.
    """

    def __init__(self) -> None:
        self._server: StandaloneMongoDB | None = None
        self._client: MongoClient[dict[str, Any]] | None = None
        self._number = 0
        self._prefix = f"torpor_test_{secrets.token_hex(6)}_"

    @property
    def address(self) -> str:
        """Where the server is, which runs from the first use on."""
        given = os.environ.get(_VARIABLE)
        if given:
            return given.rstrip("/")
        if self._server is None:
            self._server = StandaloneMongoDB()
        return f"mongodb://127.0.0.1:{self._server.port}"

    @property
    def client(self) -> MongoClient[dict[str, Any]]:
        """A client behind the storage's back."""
        if self._client is None:
            self._client = MongoClient(self.address)
        return self._client

    @property
    def database(self) -> str:
        """The name of the database in use."""
        return f"{self._prefix}{self._number}"

    def empty(self, folder: Path | None = None) -> str:  # noqa: ARG002 - it needs none
        """Return the URL of an empty store."""
        address = self.address
        self._drop()
        self._number += 1
        return f"{address}/{self.database}{_OPTIONS}"

    def close(self) -> None:
        """Remove the last database, and end the server if it is ours."""
        self._drop()
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._server is not None:
            self._server.close()
            self._server = None

    def _drop(self) -> None:
        if self._number:
            self.client.drop_database(self.database)


MONGODB = MongoDBPlace()
