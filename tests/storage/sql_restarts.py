"""Servers that a test may stop: private ones, from the programs that are installed here."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path

import pytest

from torpor.storage.errors import StorageUnavailableError
from torpor.storage.sql import SQLStorage
from torpor.storage.testing.kit import PATIENCE

__all__ = ["PrivateMariaDB", "PrivatePostgreSQL", "PrivateServer"]


class PrivateServer(ABC):
    """A server on a folder and a port of its own; call ``close`` when done."""

    user: str
    """Who runs it if the tests are run by root, as whom servers refuse to run."""
    stops: tuple[signal.Signals, ...]
    """How to end it: in good order though clients are connected, and as a crash."""

    def __init__(self) -> None:
        # Not pytest's folder, which the server's user can't reach.
        self.folder = Path(tempfile.mkdtemp(prefix="torpor-server-"))
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port: int = free.getsockname()[1]
        self._user: int | None = None
        if os.geteuid() == 0:
            self._user = pwd.getpwnam(self.user).pw_uid
            os.chown(self.folder, self._user, -1)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            subprocess.run(
                self.creation(), cwd=self.folder, capture_output=True, check=True, user=self._user
            )
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is."""

    @abstractmethod
    def creation(self) -> list[str]:
        """Return the command that fills the folder."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.folder, stdout=log, stderr=log, user=self._user
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                SQLStorage(self.url).close()
            except StorageUnavailableError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals) -> None:
        """End it, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(PATIENCE)

    def close(self) -> None:
        """End it and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self.stop(self.stops[0])
        shutil.rmtree(self.folder, ignore_errors=True)


def _program(*names: str) -> str:
    folders = [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    where = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *folders])
    for name in names:
        found = shutil.which(name, path=where)
        if found is not None:
            return found
    pytest.skip(f"{names[0]} is not installed")


class PrivatePostgreSQL(PrivateServer):
    """PostgreSQL."""

    user = "postgres"
    stops = (signal.SIGINT, signal.SIGQUIT)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def creation(self) -> list[str]:
        """Make a cluster that trusts everybody."""
        return [
            *(_program("initdb"), "-D", "data", "-U", "postgres", "-A", "trust"),
            *("-E", "UTF8", "--no-locale", "--no-sync"),
        ]

    def command(self) -> list[str]:
        """Run it in the foreground."""
        return [_program("postgres"), "-D", "data", "-p", str(self.port), "-k", str(self.folder)]


class PrivateMariaDB(PrivateServer):
    """MariaDB."""

    user = "mysql"
    stops = (signal.SIGTERM, signal.SIGKILL)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mysql://root@127.0.0.1:{self.port}/test"

    def creation(self) -> list[str]:
        """Make the tables of the server itself, and the database of the test."""
        return [
            *(_program("mariadb-install-db", "mysql_install_db"), "--no-defaults"),
            *(f"--datadir={self.folder}/data", "--auth-root-authentication-method=normal"),
        ]

    def command(self) -> list[str]:
        """Run it in the foreground."""
        return [
            *(_program("mariadbd", "mysqld"), "--no-defaults", f"--datadir={self.folder}/data"),
            *(f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-grant-tables"),
            *(f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid"),
            "--skip-name-resolve",
        ]
