"""The lives of a chaos run, seen from outside: processes, or threads where there is one process."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

from tests.chaos.life import Life
from tests.chaos.told import PATIENCE
from tests.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage import Storage

__all__ = ["ProcessWorker", "ThreadWorker", "Worker"]


class Worker(Protocol):
    """What a life is to whoever makes trouble."""

    def order(self, line: str) -> None:
        """Have it do something; see ``Life.obey``."""
        ...

    def finish(self) -> None:
        """Have it stop in good order."""
        ...

    def close(self) -> None:
        """End it, however it stands. Twice is no error."""
        ...


class ThreadWorker:
    """A life in this process, on a storage that it shares with others."""

    def __init__(self, storage: Storage, name: str, tell: Callable[[str], None]) -> None:
        self._leaving = ExitStack()
        self._life = self._leaving.enter_context(Life(storage, name, tell))

    def order(self, line: str) -> None:
        """See ``Worker``."""
        self._life.obey(line)

    def finish(self) -> None:
        """See ``Worker``."""
        self._leaving.close()

    close = finish


class ProcessWorker:
    """A life that is a process. ``name`` is never used twice in a run."""

    def __init__(self, url: str, name: str, tell: Callable[[str], None]) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.worker", url, name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(tell,)),
            threading.Thread(target=self._read_errors),
        ]
        for reader in self._readers:
            reader.start()

    def order(self, line: str) -> None:
        """See ``Worker``."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # ``finish`` tells why
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        """End it by SIGKILL; what it had said before is still heard."""
        self._process.kill()
        self._gone()

    def freeze(self) -> None:
        """Stop it where it stands."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on, as if no time had passed."""
        self._process.send_signal(signal.SIGCONT)

    def limit_files(self, most: int | None) -> None:
        """Let none of its files grow beyond ``most`` bytes, as if the disk were full."""
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        soft = hard if most is None else most
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def finish(self) -> None:
        """See ``Worker``."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._gone()
        status = self._process.returncode
        assert status == 0, f"{self._name} ended with {status}:\n{''.join(self._errors)}"

    close = kill

    def _gone(self) -> None:
        self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def _read(self, tell: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # the last one may be cut off by a kill
                tell(line)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors += self._process.stderr
