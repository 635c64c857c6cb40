"""Ticks that a stopping process cancels are done by the next one, however often that is so."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, ClassVar

from tests.behaviours.kit import saved
from tests.lifecycle.kit import PATIENCE, LifeClock, done
from tests.runtime.kit import Watch, begin, eventually
from tests.schedules.kit import stored
from torpor import Agent, Runtime, ScheduleFailed
from torpor.schedules import GRACE, MAX_ATTEMPTS, Misfire

if TYPE_CHECKING:
    from torpor.storage import Storage


class Slow(Agent):
    """Has a job that takes as long as the test likes."""

    done: int = 0

    begun: ClassVar[threading.Event] = threading.Event()
    quick: ClassVar[bool] = False

    def plan(self, misfire: Misfire) -> None:
        """Plan the job."""
        self.schedule(Slow.work, after=1, id="job", misfire=misfire)

    async def work(self) -> None:
        """Do it, in the end."""
        self.begun.set()
        if not self.quick:
            await asyncio.Event().wait()
        self.done += 1


def cut_off(storage: Storage, clock: LifeClock, *, misfire: Misfire | None = None) -> None:
    """Begin the job in a process that ends in the middle of it; ``misfire``: plan it first."""
    Slow.begun.clear()
    Slow.quick = False
    runtime = Runtime(storage, clock=clock, agents=[Slow])
    watch = Watch(runtime)
    if misfire is not None:
        runtime.get(Slow, "a").ask(Slow.plan, misfire)
        clock.advance(1)
    assert Slow.begun.wait(PATIENCE), "the job was not begun"
    stopping = begin(lambda: runtime.stop(0))
    watch.wait(ScheduleFailed)
    done(stopping)


def is_done(storage: Storage, clock: LifeClock) -> bool:
    """Let a last process do the job; return whether it did."""
    Slow.quick = True
    with Runtime(storage, clock=clock, agents=[Slow]) as runtime:
        eventually(lambda: not stored(storage, runtime.get(Slow, "a")))
    return bool(saved(storage, "slow/a").value["done"] == 1)


def test_a_restart_is_no_failure_of_a_tick(memory: Storage) -> None:
    """A one-shot outlives more restarts than it may have failures (HC-29)."""
    clock = LifeClock()
    for life in range(MAX_ATTEMPTS + 1):
        cut_off(memory, clock, misfire=None if life else "once")
        clock.advance(GRACE)
    assert is_done(memory, clock)


def test_a_tick_that_was_cut_off_was_not_missed(memory: Storage) -> None:
    """``skip`` is for ticks that nobody began (HC-29)."""
    clock = LifeClock()
    cut_off(memory, clock, misfire="skip")
    clock.advance(2 * GRACE)
    assert is_done(memory, clock)
