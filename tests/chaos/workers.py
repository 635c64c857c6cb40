"""The processes of a chaos run, seen from outside."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress

from tests.chaos.journal import Note
from tests.project import ROOT

__all__ = ["Told", "Worker"]

PATIENCE = 120.0
"""Seconds after which what should have happened long ago is taken to be stuck."""


class Told:
    """What all processes of a run said, as it comes in."""

    def __init__(self) -> None:
        self.acknowledged: dict[Note, int] = {}
        self.refused: set[Note] = set()
        self.errors: Counter[str] = Counter()
        self.broken: list[str] = []
        self._changed = threading.Condition()

    def take(self, line: str) -> None:
        """Take one line of a worker."""
        mark, _, rest = line.rstrip("\n").partition(" ")
        with self._changed:
            if mark == "!":
                self.broken.append(rest)
            else:
                sender, number, what = rest.split(" ", 2)
                note = Note(sender, int(number))
                if mark == "+":
                    self.acknowledged[note] = int(what)
                else:
                    self.errors[f"{mark} {what}"] += 1
                    if mark == "-":
                        self.refused.add(note)
            self._changed.notify_all()

    def wait_for(self, more: int) -> None:
        """Wait until so many more notes were acknowledged."""
        with self._changed:
            goal = len(self.acknowledged) + more
            came = self._changed.wait_for(
                lambda: self.broken or len(self.acknowledged) >= goal, PATIENCE
            )
            assert came, f"nothing goes on: {len(self.acknowledged)} of {goal} acknowledged"
            assert not self.broken, self.broken[0]


class Worker:
    """One process; ``life`` is its name, never used twice in a run."""

    def __init__(self, url: str, life: str, told: Told) -> None:
        self._life = life
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.worker", url, life],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(told,)),
            threading.Thread(target=self._read_errors),
        ]
        for reader in self._readers:
            reader.start()

    def kill(self) -> None:
        """End it by SIGKILL; what it had said before is still heard."""
        self._process.kill()
        self._gone()

    def pause(self) -> None:
        """Stop it where it stands."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on, as if no time had passed."""
        self._process.send_signal(signal.SIGCONT)

    def fill_disk(self, most: int) -> None:
        """Let none of its files grow beyond ``most`` bytes, as if the disk were full."""
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (most, hard))

    def free_disk(self) -> None:
        """Give it the room again."""
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (hard, hard))

    def finish(self) -> None:
        """Have it stop in good order."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._gone()
        status = self._process.returncode
        assert status == 0, f"{self._life} ended with {status}:\n{''.join(self._errors)}"

    def close(self) -> None:
        """End it, however it stands."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        self._gone()

    def _gone(self) -> None:
        self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def _read(self, told: Told) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # the last one may be cut off by a kill
                told.take(line)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors += self._process.stderr
