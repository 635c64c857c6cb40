"""Ticks whose turns the storage can't take come to an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.messages.kit import until
from tests.runtime.kit import Watch, eventually
from tests.schedules.kit import stored
from torpor import Agent, Runtime, ScheduleFailed, ScheduleFired, StopError
from torpor.schedules import MAX_ATTEMPTS
from torpor.storage import Record
from torpor.storage.errors import RecordTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.runtime.quiet import QuietClock
    from torpor import AgentRef
    from torpor.storage.memory import MemoryStorage

_ROOM = 2000


class Growing(Agent):
    """Grows when it is told to."""

    text: str = ""

    def plan(self, times: int, every: float | None = None) -> None:
        """Plan to grow."""
        self.schedule(Growing.grow, times, after=5, every=every, id="job")

    def grow(self, times: int) -> None:
        """Grow."""
        self.text += "x" * times

    def size(self) -> int:
        """Return how large it is."""
        return len(self.text)


class Late(Growing, durability="hibernate"):
    """Is saved when it hibernates."""


class Soon(Growing, durability="interval"):
    """Is saved now and then."""


@pytest.fixture
def small(memory: MemoryStorage, clock: QuietClock) -> Iterator[Runtime]:
    """Return a runtime on a storage of small records."""
    memory.max_document_bytes = _ROOM
    with Runtime(memory, clock=clock, agents=[Growing, Late, Soon]) as runtime:
        clock.watch(runtime)
        yield runtime


def test_a_tick_is_put_off_and_given_up(
    small: Runtime, memory: MemoryStorage, clock: QuietClock
) -> None:
    """A turn that does not fit is a failure of its tick like any other (HC-7, HC-35)."""
    agent, watch = small.get(Growing, "a"), Watch(small)
    agent.ask(Growing.plan, _ROOM)
    until(clock, lambda: stored(memory, agent) == [])

    failures = watch.of(ScheduleFailed)
    assert [event.attempt for event in failures] == list(range(1, MAX_ATTEMPTS + 1))
    assert {type(event.error) for event in failures} == {RecordTooLargeError}
    assert failures[-1].retry_at is None
    assert [letter.id for letter in agent.dead_letters()] == [failures[0].tick]


def test_a_recurring_one_goes_on_with_its_next_tick(
    small: Runtime, memory: MemoryStorage, clock: QuietClock
) -> None:
    """Only the tick is given up that did not fit (HC-7, HC-35)."""
    agent, watch = small.get(Growing, "a"), Watch(small)
    agent.ask(Growing.plan, _ROOM, every=3600)
    until(clock, lambda: len(watch.of(ScheduleFailed)) >= MAX_ATTEMPTS)

    memory.max_document_bytes = None
    [first] = stored(memory, agent)
    clock.advance(first["next_at"] - clock.time())
    [fired] = watch.wait(ScheduleFired)
    assert fired.tick != watch.of(ScheduleFailed)[0].tick


def test_a_tick_waits_if_not_even_its_dead_letter_fits(
    small: Runtime, memory: MemoryStorage, clock: QuietClock
) -> None:
    """Then it is never given up, and made once there is room (HC-7, HC-35)."""
    agent, watch = small.get(Growing, "a"), Watch(small)
    agent.ask(Growing.plan, _ROOM)
    until(clock, lambda: bool(stored(memory, agent)[0].get("failures") == MAX_ATTEMPTS - 1))
    [record] = memory.read([agent.address])
    assert isinstance(record, Record)
    memory.max_document_bytes = len(record.data or "") + 20  # a retry is noted as before
    until(clock, lambda: len(watch.of(ScheduleFailed)) > MAX_ATTEMPTS + 1)
    assert agent.dead_letters() == []

    memory.max_document_bytes = None
    until(clock, lambda: bool(watch.of(ScheduleFired)))
    assert stored(memory, agent) == []


def refuse(runtime: Runtime, cls: type[Growing], clock: QuietClock) -> AgentRef[Growing]:
    """Have an agent made too large by a tick, and its storage refuse it; return it."""
    agent, watch = runtime.get(cls, "a"), Watch(runtime)
    agent.ask(Growing.plan, _ROOM, 3600.0)
    agent.hibernate()
    clock.advance(5)
    watch.wait(ScheduleFired)
    with pytest.raises(RecordTooLargeError):
        agent.hibernate()
    for _ in range(5):
        clock.advance(20)
    assert watch.of(ScheduleFailed) == []
    assert len(watch.of(ScheduleFired)) == 1
    return agent


@pytest.mark.parametrize("cls", [Late, Soon])
def test_a_tick_that_was_answered_early_stays_done(
    small: Runtime, memory: MemoryStorage, clock: QuietClock, cls: type[Growing]
) -> None:
    """What later turns build upon is not undone, so nothing is tried again (HC-7, HC-35)."""
    agent = refuse(small, cls, clock)
    before = stored(memory, agent)

    memory.max_document_bytes = None
    agent.hibernate()
    [after] = stored(memory, agent)
    assert [after["next_at"]] == [one["next_at"] + 3600 for one in before]
    assert after.get("failures", 0) == 0
    assert agent.ask(Growing.size) == _ROOM


@pytest.mark.parametrize("cls", [Late, Soon])
def test_a_tick_that_was_never_saved_is_the_next_process_s(
    memory: MemoryStorage, clock: QuietClock, cls: type[Growing]
) -> None:
    """It is lost with what it did, and so is run once more, and not doubled (HC-7, HC-35)."""
    memory.max_document_bytes = _ROOM
    runtime = Runtime(memory, clock=clock, agents=[cls])
    clock.watch(runtime)
    refuse(runtime, cls, clock)
    with pytest.raises(StopError):
        runtime.stop(0)

    memory.max_document_bytes = None
    with Runtime(memory, clock=clock, agents=[cls]) as successor:
        eventually(lambda: successor.get(cls, "a").ask(Growing.size) == _ROOM)
