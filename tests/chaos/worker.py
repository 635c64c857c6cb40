"""One process of a chaos run: sends notes until its standard input ends, and tells what came.

Each line that it writes is one event: ``+ sender number place`` for what was acknowledged,
``- sender number`` for what is said not to have happened, ``? sender number`` for what nobody
knows, ``! text`` for what may never happen. Its wall clock jumps by up to an hour, both ways.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
import traceback

from tests.chaos.journal import Journal, Note
from torpor import Reply, Runtime
from torpor.clock import SystemClock
from torpor.storage import Storage, open_storage
from torpor.storage.errors import StorageUnavailableError, TorporError

__all__ = ["STORAGE_TIMEOUT", "TIMEOUT", "main"]

SENDERS = 3
IN_FLIGHT = 6
TIMEOUT = 2.0
"""Seconds that a call may take."""
STORAGE_TIMEOUT = 1.0
"""Seconds that an operation of the storage may take."""


class JumpingClock(SystemClock):
    """A wall clock that somebody keeps setting; only the monotonic one can be relied on."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def time(self) -> float:
        """Return a time that nobody should believe."""
        with self._lock:
            return time.time() + self._random.choice((0.0, 0.0, -3600.0, 3600.0))


class Senders:
    """Send notes from threads and from tasks; some callers go away before the reply."""

    def __init__(self, runtime: Runtime, life: str) -> None:
        self._runtime = runtime
        self._life = life
        self._enough = threading.Event()

    def run(self) -> None:
        """Send until the standard input ends, then until all is answered."""
        threads = [threading.Thread(target=self._blocking, args=(n,)) for n in range(SENDERS)]
        threads.append(threading.Thread(target=lambda: asyncio.run(self._awaiting())))
        for thread in threads:
            thread.start()
        sys.stdin.read()
        self._enough.set()
        for thread in threads:
            thread.join()

    def _blocking(self, n: int) -> None:
        sender = f"{self._life}.{n}"
        chance = random.Random(sender)
        number = 0
        try:
            while not self._enough.is_set():
                under_way: list[tuple[Note, Reply[int]]] = []
                for _ in range(IN_FLIGHT):
                    note = Note(sender, number)
                    number += 1
                    reply = self._submit(note)
                    if reply is not None and chance.random() < 0.95:
                        under_way.append((note, reply))  # else a caller that does not wait
                for note, reply in under_way:
                    try:
                        told("+", note, reply.get())
                    except TorporError as error:
                        self._failed(note, error)
        except BaseException:  # noqa: BLE001 - told to whoever judges
            broken()

    async def _awaiting(self) -> None:
        sender = f"{self._life}.a"
        chance = random.Random(sender)
        number = 0
        try:
            while not self._enough.is_set():
                note = Note(sender, number)
                number += 1
                reply = self._submit(note)
                try:
                    async with asyncio.timeout(0.001 if chance.random() < 0.1 else None):
                        if reply is not None:
                            told("+", note, await reply)
                except TimeoutError:
                    pass  # a caller that gave up: withdrawn, or done without it
                except TorporError as error:
                    self._failed(note, error)
                await asyncio.sleep(0)
        except BaseException:  # noqa: BLE001 - told to whoever judges
            broken()

    def _submit(self, note: Note) -> Reply[int] | None:
        """Return the reply to come; None if the call is refused, and so never happens."""
        journal = self._runtime.get(Journal, note.journal)
        try:
            return journal.submit(Journal.keep, note.sender, note.number)
        except TorporError as error:
            told("-", note, type(error).__name__)
            self._enough.wait(0.01)  # a storage that is away is not to be hammered
            return None

    def _failed(self, note: Note, error: TorporError) -> None:
        outcome = getattr(error, "outcome", "unknown")
        told("?" if outcome == "unknown" else "-", note, type(error).__name__)


def told(mark: str, note: Note, what: object) -> None:
    """Write one line, whole even if the process is killed."""
    os.write(1, f"{mark} {note.sender} {note.number} {what}\n".encode())


def broken() -> None:
    """Tell of an error that no caller should ever see."""
    os.write(1, f"! {traceback.format_exc()[-3000:]!r}\n".encode())


def main(url: str, life: str) -> None:
    """Be the process ``life``."""
    clock = JumpingClock(life)
    with (
        _opened(url) as storage,
        Runtime(storage, clock=clock, timeout=TIMEOUT, idle_timeout=0.001, max_live=5) as runtime,
    ):
        Senders(runtime, life).run()


def _opened(url: str) -> Storage:
    """Open the storage as soon as its server is there."""
    while True:
        try:
            return open_storage(url)
        except StorageUnavailableError:
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
