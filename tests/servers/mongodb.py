"""SecantusDB, which speaks MongoDB's wire protocol.

No package index that these tests may use carries MongoDB itself. SecantusDB, a test dependency,
comes as near as there is: drivers can't tell it from a replica set with one member, and it keeps
its documents in WiredTiger, MongoDB's own engine. It differs from MongoDB where it matters here:

- There is one server. A write concern or read concern of ``majority`` is taken and means
  nothing; no member steps down by itself, and nothing is ever rolled back.
- A range of ``_id`` is found by reading the whole collection, and so are the last of a long
  range by an index. What a listing costs there says nothing about MongoDB.
- ``j: true`` syncs nothing unless the server is started with ``--sync-on-commit``, as here.
"""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec
from typing import ClassVar

import pytest

from tests.servers.base import PrivateServer

__all__ = ["PrivateMongoDB"]


class PrivateMongoDB(PrivateServer):
    """A primary, alone in its replica set, that has each commit on its disk when it answers."""

    stops: ClassVar = {"in good order": signal.SIGTERM, "crash": signal.SIGKILL}
    settings: ClassVar[tuple[str, ...]] = ("--sync-on-commit",)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mongodb://127.0.0.1:{self.port}/torpor"

    def command(self) -> list[str]:
        """Run it in the foreground."""
        if find_spec("secantus") is None:
            pytest.skip("SecantusDB, the server behind the MongoDB tests, is not installed")
        return [
            *(sys.executable, "-m", "secantus", "--port", str(self.port)),
            *("--storage-path", "data", "--log-level", "WARNING", "--enable-test-commands"),
            *self.settings,
        ]
