"""A deactivation that does not end: in the agent's own hook, or in the storage."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.kit import (
    PATIENCE,
    Gate,
    LifeClock,
    Scripted,
    Watch,
    hooked,
    result,
    running,
    saved_count,
)
from torpor import CallTimeoutError, Hibernated, HibernationReason, SaveFailed

if TYPE_CHECKING:
    from torpor import Runtime
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage

IDLE = 60.0


class Late(Scripted, durability="hibernate"):
    """Is saved when it hibernates."""


def test_a_hook_that_does_not_end_harms_its_own_agent_only(
    runtime: Runtime, clock: LifeClock, watch: Watch
) -> None:
    """Others sleep and wake; who calls that agent is told in time that nothing ran (HC-11)."""
    gate = Gate()
    cls = hooked(lambda _: gate.pass_through())
    stuck, other = runtime.get(cls, "a"), runtime.get(Scripted, "b")
    for agent in (stuck, other):
        agent.ask(Scripted.add)

    clock.advance(IDLE)
    gate.wait_for_entry()
    asleep = Hibernated(other.address, HibernationReason.IDLE)
    assert watch.wait(Hibernated) == [asleep]
    assert other.ask(Scripted.add) == 2
    assert stuck.status().state == "hibernating"
    late = stuck.options(timeout=5).submit(Scripted.add)
    clock.advance(5)
    with pytest.raises(CallTimeoutError, match="not_run"):
        late.get()

    in_time = stuck.options(timeout=None).submit(Scripted.add)
    gate.open()
    assert result(in_time) == 2
    assert watch.of(Hibernated) == [asleep]


def test_a_save_that_does_not_end_is_given_up_and_sent_again(
    memory: MemoryStorage, storage: FaultyStorage, clock: LifeClock
) -> None:
    """An agent that hangs on its way to sleep gets there, and is stored once (HC-3, HC-11)."""
    storage.timeout = 1
    with running(storage, clock=clock, idle_timeout=IDLE, wake_interval=None) as runtime:
        watch = Watch(runtime)
        agent = runtime.get(Late, "a")
        agent.ask(Late.add)
        with storage.hang_next("commit") as hang:
            clock.advance(IDLE)
            assert hang.entered.wait(PATIENCE)
            clock.advance(2)
            watch.wait(SaveFailed)
            clock.pass_backoff()

            asleep = Hibernated(agent.address, HibernationReason.IDLE)
            assert watch.wait(Hibernated) == [asleep]
            assert saved_count(memory, agent) == 1
            assert runtime.get(Late, "a").ask(Late.add) == 2
        agent.hibernate()
    assert saved_count(memory, agent) == 2
