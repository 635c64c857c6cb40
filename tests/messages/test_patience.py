"""A message whose receiver is away for long is not tried again and again meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import eventually
from torpor import Agent, Runtime
from torpor.outbox import LONGEST_RETRY
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from tests.runtime.quiet import QuietClock
    from torpor.storage import Storage


class Away(Agent, kind="away", supervision="stop"):
    """Is paused by its first failure, until it is resumed."""

    got: int = 0

    def take(self) -> None:
        """Count what comes."""
        self.got += 1

    def count(self) -> int:
        """Return how much came."""
        return self.got

    def fail(self) -> None:
        """Fail."""
        raise LookupError


class Writer(Agent, kind="writer"):
    """Sends."""

    def write(self) -> None:
        """Send one message."""
        self.runtime.get(Away, "b").send(Away.take)


def test_who_is_away_costs_the_sender_little(memory: Storage, clock: QuietClock) -> None:
    """In ten minutes some dozens of commits, no thousand; nothing is lost or given up."""
    with FaultyStorage(memory) as storage, Runtime(storage, clock=clock) as runtime:
        clock.watch(runtime)
        away, writer = runtime.get(Away, "b"), runtime.get(Writer, "a")
        with pytest.raises(LookupError):
            away.ask(Away.fail)
        writer.ask(Writer.write)
        before = storage.calls["commit"]
        for _ in range(600):
            clock.advance(1)

        assert 20 < storage.calls["commit"] - before < 150
        assert writer.dead_letters() == []
        assert away.resume()
        clock.advance(LONGEST_RETRY)
        eventually(lambda: away.ask(Away.count) == 1)


def test_who_is_away_for_a_moment_gets_it_soon(memory: Storage, clock: QuietClock) -> None:
    """A message that has waited for seconds waits for one second more."""
    with Runtime(memory, clock=clock) as runtime:
        clock.watch(runtime)
        away = runtime.get(Away, "b")
        with pytest.raises(LookupError):
            away.ask(Away.fail)
        runtime.get(Writer, "a").ask(Writer.write)
        for _ in range(5):
            clock.advance(1)
        assert away.resume()

        clock.advance(1)
        eventually(lambda: away.ask(Away.count) == 1)
