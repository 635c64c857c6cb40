"""How a runtime stops: what was begun is finished, and everybody hibernates."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.kit import (
    DRAIN,
    PATIENCE,
    Gate,
    Late,
    LifeClock,
    Scripted,
    Watch,
    begin,
    begin_stop,
    done,
    result,
    saved_count,
    stoppable,
)
from torpor import DeadLetter, Hibernated, HibernationReason, Runtime, RuntimeStoppedError
from torpor.manager import InstanceManager

if TYPE_CHECKING:
    from torpor.activation import Activation
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage

__all__ = ["stoppable"]


# -- the drain --------------------------------------------------------------------------------


def test_queued_turns_finish(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """What was sent before the stop is still done, saved and answered (DESIGN 5, Stop, HC-14)."""
    agent, gate = runtime.get(Scripted, "a"), Gate()
    first = agent.submit(Scripted.do, lambda _: gate.pass_through())
    queued = [agent.submit(Scripted.add) for _ in range(5)]
    gate.wait_for_entry()

    stopping = begin_stop(runtime, clock)
    gate.open()

    done(stopping)
    result(first)
    assert [result(reply) for reply in queued] == [1, 2, 3, 4, 5]
    assert saved_count(storage, agent) == 5


def test_no_new_calls(runtime: Runtime, clock: LifeClock) -> None:
    """From the moment of the stop on, calls from outside are refused."""
    agent, gate = runtime.get(Scripted, "a"), Gate()
    agent.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    stopping = begin_stop(runtime, clock)

    for ref in (agent, runtime.get(Scripted, "b")):
        for call in (ref.ask, ref.submit, ref.tell):
            with pytest.raises(RuntimeStoppedError):
                call(Scripted.read)
        with pytest.raises(RuntimeStoppedError):
            ref.delete()

    gate.open()
    done(stopping)
    with pytest.raises(RuntimeStoppedError):
        agent.ask(Scripted.read)


def test_calls_of_running_turns_are_no_new_calls(
    runtime: Runtime, clock: LifeClock, storage: FaultyStorage
) -> None:
    """A turn that still runs may ask, submit and tell, sleepers too (DESIGN 5, Stop)."""
    agent, gate = runtime.get(Scripted, "a"), Gate()
    asked, submitted, told = (runtime.get(Scripted, key) for key in ("ask", "submit", "tell"))

    def call_all(me: Scripted) -> int:
        gate.pass_through()
        reply = submitted.submit(Scripted.add, 2)
        told.tell(Scripted.add, 3)
        me.count = asked.ask(Scripted.add, 1) + reply.get()
        return me.count

    reply = agent.submit(Scripted.do, call_all)
    gate.wait_for_entry()
    stopping = begin_stop(runtime, clock)
    gate.open()

    done(stopping)
    assert result(reply) == 3
    assert [saved_count(storage, ref) for ref in (agent, asked, submitted, told)] == [3, 1, 2, 3]


def test_chains_of_tells_finish(memory: MemoryStorage) -> None:
    """Agents that keep waking each other during the stop are waited for, to the last message."""
    runtime = Runtime(memory)
    watch, ended = Watch(runtime), threading.Semaphore(0)
    chains, length = 6, 50

    def hit(me: Scripted, left: int) -> None:
        me.count += 1
        if left:
            target = me.runtime.get(Scripted, str((int(me.id) + 1) % 3))
            target.tell(Scripted.do, lambda other: hit(other, left - 1))
        else:
            ended.release()

    for chain in range(chains):
        agent = runtime.get(Scripted, str(chain % 3))
        agent.tell(Scripted.do, lambda me: hit(me, length - 1))

    done(begin(lambda: runtime.stop(drain_timeout=PATIENCE)))

    assert all(ended.acquire(blocking=False) for _ in range(chains))
    assert watch.of(DeadLetter) == []
    counts = [saved_count(memory, runtime.get(Scripted, key)) for key in "012"]
    assert sum(count or 0 for count in counts) == chains * length


def test_a_call_that_races_with_the_stop_is_answered(
    memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds the runtime running and comes too late is refused, never forgotten."""
    runtime = Runtime(memory, timeout=None)
    activate, gate = InstanceManager._activate, Gate()

    def late(self: InstanceManager, ref: AgentRef[Any]) -> Activation:
        gate.pass_through()
        return activate(self, ref)

    monkeypatch.setattr(InstanceManager, "_activate", late)
    calling = begin(lambda: runtime.get(Scripted, "a").submit(Scripted.read))
    gate.wait_for_entry()
    done(begin(lambda: runtime.stop(DRAIN)))
    gate.open()

    with pytest.raises(RuntimeStoppedError):
        result(done(calling))


# -- hibernation ------------------------------------------------------------------------------


def test_everybody_hibernates(runtime: Runtime, storage: FaultyStorage) -> None:
    """At the end nobody is awake and all is saved, for the reason of the stop."""
    watch = Watch(runtime)
    refs = [runtime.get(Late, str(n)) for n in range(20)]
    for ref in refs:
        ref.ask(Late.add)

    done(begin(lambda: runtime.stop(DRAIN)))

    assert runtime.stats().live == 0
    assert [saved_count(storage, ref) for ref in refs] == [1] * 20
    assert {event.reason for event in watch.of(Hibernated)} == {HibernationReason.STOPPED}


def test_many_hibernate_at_a_time(runtime: Runtime, storage: FaultyStorage) -> None:
    """Their saves share commits (DESIGN 5, Stop)."""
    runtime.get(Scripted, "first").ask(Scripted.read)
    for n in range(100):
        runtime.get(Late, str(n)).ask(Late.add)
    with storage.hang_next("commit") as hang:
        stopping = begin(lambda: runtime.stop(DRAIN))
        assert hang.entered.wait(PATIENCE)

    done(stopping)
    assert len(storage.batches) < 50
    assert sum(len(batch) for batch in storage.batches) == 100


def test_idle_attached_agents_hibernate_too(runtime: Runtime) -> None:
    """An attachment keeps nobody awake beyond the runtime."""
    agent = runtime.get(Scripted, "a")
    with agent.attached():
        agent.ask(Scripted.add)
        done(begin(lambda: runtime.stop(DRAIN)))
    assert runtime.stats().live == 0
