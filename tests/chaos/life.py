"""One life of a program in a chaos run: a runtime, its senders, and orders that make trouble."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tests.chaos.clock import SteppedClock
from tests.chaos.journal import Archive, Journal
from tests.chaos.senders import Senders
from tests.chaos.storms import brew
from torpor import Runtime
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage import Storage

__all__ = ["LONGER_THAN_ANY_TIMEOUT", "STORAGE_TIMEOUT", "Life"]

TIMEOUT = 2.0
"""Seconds that a call may take."""
STORAGE_TIMEOUT = 1.0
"""Seconds that an operation of the storage may take."""
LONGER_THAN_ANY_TIMEOUT = TIMEOUT + STORAGE_TIMEOUT + 0.5


class Life:
    """Sends notes within its ``with`` block; ``tell`` gets a line for each event.

    Beside those of the senders: ``f kind`` for a fault that the storage met.
    """

    def __init__(self, storage: Storage, name: str, tell: Callable[[str], None]) -> None:
        self._storage = storage
        self._name = name
        self._tell = tell
        self._clock = SteppedClock(name)
        self._faulty = FaultyStorage(storage)
        self._leaving = ExitStack()

    def obey(self, order: str) -> None:
        """Take one line: ``storm seed``, or ``clock seconds``."""
        what, detail = order.split()
        if what == "storm":
            brew(self._faulty, detail, hang=LONGER_THAN_ANY_TIMEOUT, note=self._met)
        else:
            self._clock.step(float(detail))

    def _met(self, kind: str) -> None:
        self._tell(f"f {kind}\n")

    def __enter__(self) -> Self:
        with ExitStack() as leaving:
            storage = leaving.enter_context(self._faulty)
            runtime = leaving.enter_context(
                Runtime(
                    storage,
                    agents=[Journal, Archive],
                    clock=self._clock,
                    timeout=TIMEOUT,
                    idle_timeout=0.001,
                    max_live=5,
                    wake_interval=0.5,
                )
            )
            senders = Senders(runtime, self._name, self._tell)
            leaving.callback(senders.finish)
            senders.start()
            self._leaving = leaving.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.close()
