"""Servers that speak DynamoDB's protocol. None of them is DynamoDB, which runs at AWS only."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.project import ROOT
from tests.servers.base import PrivateServer, program

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ForgetfulDynalite", "ForgetfulMoto", "PrivateDynalite"]

_NPM = ROOT / "build" / "npm" / "node_modules" / ".bin"
"""Where ``npm install --prefix build/npm dynalite`` puts it."""

_SURVIVE = (
    "data:text/javascript,"
    "process.on('uncaughtException', error => { if (error.code !== 'ECONNRESET') throw error })"
)
"""For Dynalite ends when a client is killed that was sending a request."""


class PrivateDynalite(PrivateServer):
    """Dynalite (npm), which keeps its tables in LevelDB."""

    stops: ClassVar[Mapping[str, signal.Signals]] = {
        "in good order": signal.SIGTERM,
        "crash": signal.SIGKILL,
    }
    settings: ClassVar[tuple[str, ...]] = ("--path", "data")
    options: ClassVar[str] = ""
    """Those of the URL."""

    @property
    def url(self) -> str:
        """Where it is."""
        return self.table("torpor")

    def table(self, name: str) -> str:
        """Return the URL of a table, which is made when it is opened."""
        # Any pair does: they sign the requests, and nobody checks it.
        os.environ.setdefault("AWS_ACCESS_KEY_ID", "anybody")
        os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "nothing")
        return f"dynamodb://{name}?region=eu-west-1&endpoint_url={self.endpoint}&create=true{self.options}"

    @property
    def endpoint(self) -> str:
        """Where requests go."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Run it in the foreground."""
        where = os.pathsep.join([os.environ.get("PATH", ""), str(_NPM)])
        dynalite = shutil.which("dynalite", path=where)
        if dynalite is None:
            pytest.skip("no dynalite: npm install --prefix build/npm --no-save dynalite@4.0.0")
        return [
            *(program("node"), "--import", _SURVIVE, os.path.realpath(dynalite)),
            *("--host", "127.0.0.1"),
            *("--port", str(self.port), "--createTableMs", "0", "--deleteTableMs", "0"),
            *self.settings,
        ]


class ForgetfulDynalite(PrivateDynalite):
    """The same in memory, for tests that don't stop it."""

    stops: ClassVar[Mapping[str, signal.Signals]] = {}
    settings = ()
    options = "&timeout=30"  # longer than a busy machine makes anybody wait


class ForgetfulMoto(ForgetfulDynalite):
    """Moto (a wheel), another implementation of the protocol, in Python and slow."""

    def command(self) -> list[str]:
        """Run it in the foreground."""
        if find_spec("moto") is None or find_spec("flask") is None:
            pytest.skip("moto[server] is not installed")
        start = "import sys; from moto.server import main; main(sys.argv[1:])"
        return [sys.executable, "-c", start, "-H", "127.0.0.1", "-p", str(self.port)]
