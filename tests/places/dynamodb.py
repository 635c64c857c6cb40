"""DynamoDB: a new table for each test, in a server that only speaks its protocol."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tests.places.base import Place
from tests.servers.dynamodb import ForgetfulDynalite, ForgetfulMoto

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["DYNALITE", "MOTO", "DynamoDBPlace"]


class DynamoDBPlace(Place):
    """A server that is started when it is first needed."""

    def __init__(self, make: Callable[[], ForgetfulDynalite]) -> None:
        self._make = make
        self._server: ForgetfulDynalite | None = None
        self._numbers = itertools.count()

    @property
    def server(self) -> ForgetfulDynalite:
        """The server, which is started if need be."""
        if self._server is None:
            self._server = self._make()
        return self._server

    def empty(self, folder: Path | None = None) -> str:  # noqa: ARG002 - it needs none
        """Return the URL of a new table."""
        return self.server.table(f"test{next(self._numbers)}")

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.close()


DYNALITE = DynamoDBPlace(ForgetfulDynalite)
MOTO = DynamoDBPlace(ForgetfulMoto)
