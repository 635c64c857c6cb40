"""What these tests share: a clock that knows who waits, and endings that never hang."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

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
from torpor import Runtime, StopError
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future

    from torpor import Reply
    from torpor.activation import Activation
    from torpor.lanes import Lane
    from torpor.ref import AgentRef
    from torpor.storage import Storage

__all__ = [
    "DRAIN",
    "PATIENCE",
    "Gate",
    "Late",
    "LifeClock",
    "Rests",
    "Scripted",
    "Watch",
    "begin",
    "begin_stop",
    "done",
    "heal",
    "hooked",
    "no_op",
    "note_submissions",
    "result",
    "run_all_queued",
    "running",
    "saved_count",
    "stoppable",
    "time_out",
    "wait_for",
]

R = TypeVar("R")

PATIENCE = 10.0
"""Seconds after which a test stops waiting for what should have happened long ago."""

DRAIN = 5.0
"""Seconds that a stop gives to running turns."""


class Late(Scripted, durability="hibernate"):
    """Is saved when it hibernates."""


class LifeClock(ObservedClock):
    """An observed clock that also knows which threads wait for a deadline."""

    def __init__(self) -> None:
        super().__init__()
        self._arrival = threading.Condition()
        self._deadlines: list[float] = []

    def acquire(self, lock: threading.Lock, deadline: float | None) -> bool:
        """Note who waits, and wait."""
        entry = float("inf") if deadline is None else deadline
        with self._arrival:
            self._deadlines.append(entry)
            self._arrival.notify_all()
        try:
            return super().acquire(lock, deadline)
        finally:
            with self._arrival:
                self._deadlines.remove(entry)

    def wait_for_waiter(self) -> float:
        """Return the next deadline that a thread waits for, once one does."""
        with self._arrival:
            assert self._arrival.wait_for(self._pending, PATIENCE), "nobody waits"
            return min(self._pending())

    def pass_deadline(self) -> None:
        """Let the time of the next deadline come that a thread waits for."""
        deadline = self.wait_for_waiter()
        self.advance(deadline - self.monotonic())

    def pass_time(self, seconds: float) -> None:
        """Let ``seconds`` pass, and wait until the timer has done what was due by then."""
        self.advance(seconds)
        self.settle()

    def _pending(self) -> list[float]:
        return [deadline for deadline in self._deadlines if deadline > self.monotonic()]


class Rests:
    """Knows how often each agent came to rest, which is when its idle clock starts."""

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self._changed = threading.Condition()
        self._count: Counter[str] = Counter()
        rested = runtime.manager.rested

        def noted(activation: Activation) -> None:
            rested(activation)
            with self._changed:
                self._count[activation.address] += 1
                self._changed.notify_all()

        monkeypatch.setattr(runtime.manager, "rested", noted)

    @contextmanager
    def one_more(self, ref: AgentRef[Any]) -> Generator[None]:
        """Wait, at the end of the block, until the agent has come to rest within it."""
        before = self._count[ref.address]
        yield
        with self._changed:
            came = self._changed.wait_for(lambda: self._count[ref.address] > before, PATIENCE)
        assert came, f"{ref} does not come to rest"


def note_submissions(
    lane: Lane[Any, Any], monkeypatch: pytest.MonkeyPatch, *keys: str
) -> dict[str, threading.Event]:
    """Return events that tell that the agents of ``keys`` have arrived in ``lane``."""
    arrived = {key: threading.Event() for key in keys}
    submit = lane.submit

    def noted(item: Activation, *, inline: bool = False, urgent: bool = False) -> None:
        submit(item, inline=inline, urgent=urgent)
        if item.agent_id in arrived:
            arrived[item.agent_id].set()

    monkeypatch.setattr(lane, "submit", noted)
    return arrived


def result(reply: Reply[R]) -> R:
    """Return what came, however slowly the runtime's clock goes."""
    wait_for(reply)
    return reply.get()


def done(future: Future[R]) -> R:
    """Return the result of what another thread does."""
    return future.result(PATIENCE)


def heal(storage: Storage) -> None:
    """Let a faulty storage answer whoever hangs in it, and everybody from now on."""
    if isinstance(storage, FaultyStorage):
        storage.reconnect()
        for faults in storage._faults.values():
            faults.clear()
        for hang in storage._hangs:
            hang.release()


@contextmanager
def running(storage: str | Storage, **options: Any) -> Generator[Runtime]:
    """Run a runtime; whatever a test leaves behind, the end takes a few seconds at most."""
    runtime = Runtime(storage, **options)
    try:
        yield runtime
    finally:
        heal(runtime.storage)
        done(begin(lambda: runtime.stop(drain_timeout=5)))


def hooked(on_hibernate: Callable[[Scripted], None]) -> type[Scripted]:
    """Return a class of agents that run the test's code before they hibernate."""

    class Hooked(Scripted):
        """Says goodbye."""

        def on_hibernate(self) -> None:
            """Run the test's code."""
            on_hibernate(self)

    return Hooked


def no_op(_: Scripted) -> None:
    """Do nothing, as a turn."""


@pytest.fixture(name="runtime")
def stoppable(storage: FaultyStorage, clock: LifeClock) -> Iterator[Runtime]:
    """Return a runtime whose stop is the test's own business; calls never time out."""
    runtime = Runtime(storage, clock=clock, timeout=None)
    yield runtime
    heal(storage)
    runtime.manager.close()


def begin_stop(runtime: Runtime, clock: LifeClock) -> Future[None]:
    """Stop the runtime on another thread; return once it waits for turns to finish."""
    stopping = begin(lambda: runtime.stop(DRAIN))
    clock.wait_for_waiter()
    return stopping


def time_out(stopping: Future[None], clock: LifeClock) -> StopError:
    """Let the drain timeout and the time for cancelled turns pass; return what that raised."""
    clock.pass_deadline()
    clock.pass_deadline()
    error = stopping.exception(PATIENCE)
    assert isinstance(error, StopError)
    return error
