"""PostgreSQL."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import ClassVar

from tests.servers.base import PrivateServer, program

__all__ = ["PrivatePostgreSQL", "program_of"]


def program_of(name: str) -> str:
    """Return the path of one of the programs of PostgreSQL, else skip the test."""
    return program(name, folders=Path("/usr/lib/postgresql").glob("*/bin"))


class PrivatePostgreSQL(PrivateServer):
    """A cluster that trusts everybody."""

    user = "postgres"
    # SIGINT is its "fast" shutdown: SIGTERM would wait for the clients to leave
    stops: ClassVar = {"in good order": signal.SIGINT, "crash": signal.SIGQUIT}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Make the cluster."""
        self.run(
            *(program_of("initdb"), "-D", "data", "-U", "postgres", "-A", "trust"),
            *("-E", "UTF8", "--no-locale", "--no-sync"),
        )

    def command(self) -> list[str]:
        """Run it in the foreground."""
        return [program_of("postgres"), "-D", "data", "-p", str(self.port), "-k", str(self.folder)]
