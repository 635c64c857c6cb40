"""Who sends notes in a chaos run, from threads and from tasks, and says what came of them.

Each line is one event: ``+ sender number place`` for what was acknowledged, ``- sender number``
for what is said not to have happened, ``? sender number`` for what nobody knows, ``! text`` for
what may never happen.
"""

from __future__ import annotations

import asyncio
import random
import threading
import traceback
from typing import TYPE_CHECKING

from tests.chaos.journal import Journal, Note
from torpor.storage.errors import TorporError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor import Reply, Runtime

__all__ = ["Senders"]

SENDERS = 3
IN_FLIGHT = 6


class Senders:
    """Send notes until they are to ``finish``; some callers go away before the reply."""

    def __init__(self, runtime: Runtime, life: str, tell: Callable[[str], None]) -> None:
        self._runtime = runtime
        self._life = life
        self._tell = tell
        self._enough = threading.Event()
        self._threads = [
            *(threading.Thread(target=self._blocking, args=(n,)) for n in range(SENDERS)),
            threading.Thread(target=lambda: asyncio.run(self._awaiting())),
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Send no more; wait until all is answered."""
        self._enough.set()
        for thread in self._threads:
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
                    if reply is None:
                        continue
                    if chance.random() < 0.05:
                        self._left(note)
                    else:
                        under_way.append((note, reply))
                for note, reply in under_way:
                    try:
                        self._told("+", note, reply.get())
                    except TorporError as error:
                        self._failed(note, error)
        except BaseException:  # noqa: BLE001 - told to whoever judges
            self._broken()

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
                            self._told("+", note, await reply)
                except TorporError as error:
                    self._failed(note, error)
                except TimeoutError:  # withdrawn, or done without its caller
                    self._left(note)
                await asyncio.sleep(0)
        except BaseException:  # noqa: BLE001 - told to whoever judges
            self._broken()

    def _submit(self, note: Note) -> Reply[int] | None:
        """Return the reply to come; None if the call is refused, and so never happens."""
        journal = self._runtime.get(Journal, note.journal)
        try:
            return journal.submit(Journal.keep, note.sender, note.number)
        except TorporError as error:
            self._told("-", note, type(error).__name__)
            self._enough.wait(0.01)  # a storage that is away is not to be hammered
            return None

    def _failed(self, note: Note, error: TorporError) -> None:
        outcome = getattr(error, "outcome", "unknown")
        self._told("?" if outcome == "unknown" else "-", note, type(error).__name__)

    def _left(self, note: Note) -> None:
        self._told("?", note, "caller that left")

    def _told(self, mark: str, note: Note, what: object) -> None:
        self._tell(f"{mark} {note.sender} {note.number} {what}\n")

    def _broken(self) -> None:
        """Tell of an error that no caller should ever see."""
        self._tell(f"! {traceback.format_exc()[-3000:]!r}\n")
