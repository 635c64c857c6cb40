"""A server that a test may stop, from a program that is installed here."""

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
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from torpor.storage import open_storage
from torpor.storage.errors import StorageUnavailableError
from torpor.storage.testing.kit import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["PrivateServer", "program"]


class PrivateServer(ABC):
    """A server on a folder and a port of its own; call ``close`` when done."""

    stops: ClassVar[Mapping[str, signal.Signals]]
    """How it is ended: ``"in good order"``, though clients are connected, and by a ``"crash"``.

    A server that loses what it acknowledged when it crashes has no ``"crash"``, and one that
    keeps nothing at all has none of both.
    """
    user: ClassVar[str | None] = None
    """Who runs it if the tests are run by root and the server refuses to be."""

    def __init__(self, where: Path | None = None) -> None:
        # Not pytest's folder, which the server's user can't reach.
        self.folder = Path(tempfile.mkdtemp(prefix="torpor-server-", dir=where))
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port: int = free.getsockname()[1]
        self._user: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            if self.user is not None and os.geteuid() == 0:
                self._user = pwd.getpwnam(self.user).pw_uid
                os.chown(self.folder, self._user, -1)
            self.create()
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a storage finds it, once the server runs."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground, from its folder."""

    def create(self) -> None:  # noqa: B027 - most servers do that themselves
        """Fill the folder before the first start."""

    def run(self, *command: str) -> None:
        """Run a program that fills the folder."""
        subprocess.run(command, cwd=self.folder, capture_output=True, check=True, user=self._user)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.launch()
        for process in self._until_it_answers():
            assert process.poll() is None, self._log.read_text()

    def revive(self) -> None:
        """Wait until it answers; start it again if it has ended, or does so now."""
        for process in self._until_it_answers():
            if process.poll() is not None:
                self.launch()

    def _until_it_answers(self) -> Iterator[subprocess.Popen[bytes]]:
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process is not None
            yield self._process
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.folder, stdout=log, stderr=log, user=self._user
            )

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _answers(self) -> bool:
        with suppress(StorageUnavailableError):
            open_storage(self.url).close()
            return True
        return False

    def stop(self, how: str) -> None:
        """End it by one of its ``stops``, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(self.stops[how])
        self._process.wait(PATIENCE)

    def freeze(self) -> None:
        """Stop it where it stands, with all its processes."""
        self._send_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on, as if no time had passed."""
        self._send_all(signal.SIGCONT)

    def _send_all(self, what: signal.Signals) -> None:
        """Send it to parents first: one that has stopped gets no more children."""
        assert self._process is not None
        found = [self._process.pid]
        for pid in found:
            with suppress(ProcessLookupError, FileNotFoundError):  # a child may end meanwhile
                os.kill(pid, what)
                children = Path(f"/proc/{pid}/task/{pid}/children")
                found += map(int, children.read_text().split())

    def close(self) -> None:
        """End it and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.stops.get("in good order", signal.SIGTERM))
            try:
                self._process.wait(PATIENCE / 2)
            except subprocess.TimeoutExpired:  # nobody needs it any more, nor its good order
                self._process.kill()
                self._process.wait(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)


def program(*names: str, folders: Iterable[Path] = ()) -> str:
    """Return the path of the first of these programs that is installed, else skip the test.

    Args:
        names: What it is called, here or there.
        folders: Where it may be though ``PATH`` does not tell.
    """
    where = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, folders)])
    for name in names:
        found = shutil.which(name, path=where)
        if found is not None:
            return found
    pytest.skip(f"{names[0]} is not installed")
