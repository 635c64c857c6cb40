"""What these tests share: a clock that knows who waits, and endings that never hang."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from tests.runtime.kit import (
    Gate,
    ObservedClock,
    Scripted,
    Watch,
    begin,
    run_all_queued,
    saved_count,
    wait_for,
)
from torpor import Runtime
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from torpor import Reply
    from torpor.storage import Storage

__all__ = [
    "PATIENCE",
    "Gate",
    "Keen",
    "LifeClock",
    "Scripted",
    "Watch",
    "begin",
    "heal",
    "result",
    "run_all_queued",
    "running",
    "saved_count",
    "within",
]

R = TypeVar("R")

PATIENCE = 10.0
"""Seconds after which a test stops waiting for what should have happened long ago."""


class Keen(Scripted, kind="scripted"):
    """Runs a test's own code in its hooks: ``hooks`` by name."""

    _hooks: dict[str, Callable[[Keen], None]]

    def on_hibernate(self) -> None:
        """Run the test's code."""
        hooks.get(self.id, _nothing)(self)


hooks: dict[str, Callable[[Keen], None]] = {}
"""What ``Keen.on_hibernate`` does, by the agent's key."""


def _nothing(_: Keen) -> None:
    """Do nothing."""
