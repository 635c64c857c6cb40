"""A deactivation that does not end: in the agent's own hook, or in the storage."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false
# A script may be any callable.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.kit import (
    PATIENCE,
    Gate,
    LifeClock,
    Scripted,
    Watch,
    begin,
    hooked,
    result,
    running,
    saved_count,
)
from tests.messages.kit import Receiver, die_before
from tests.runtime.kit import eventually
from torpor import (
    CallTimeoutError,
    Hibernated,
    HibernationReason,
    Runtime,
    RuntimeStoppedError,
    SaveFailed,
    StopError,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage

IDLE = 60.0


class Late(Scripted, durability="hibernate"):
    """Is saved when it hibernates."""


class Waiting(Receiver):
    """Can be kept busy."""

    def wait(self, gate: Any) -> None:
        """Stand at a gate."""
        gate.pass_through()


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


def time_out(stopping: Future[None], clock: LifeClock) -> StopError:
    """Let the time for what still runs pass; return what that raised."""
    clock.pass_deadline()
    error = stopping.exception(PATIENCE)
    assert isinstance(error, StopError)
    return error


@pytest.mark.parametrize("base", [Scripted, Late])
def test_a_stop_names_a_hook_that_does_not_end(
    memory: MemoryStorage, clock: LifeClock, base: type[Scripted]
) -> None:
    """The state before it is saved, and nothing of what it does in the end (HC-11, HC-14)."""
    gate = Gate()

    class Stuck(base):  # type: ignore[valid-type, misc]
        """Does not say goodbye."""

        def on_hibernate(self) -> None:
            """Wait."""
            self.count = 99
            gate.pass_through()

    runtime = Runtime(memory, clock=clock)
    agent = runtime.get(Stuck, "a")
    agent.ask(Stuck.add)
    stopping = begin(lambda: runtime.stop(5))
    gate.wait_for_entry()
    assert agent.status().running
    clock.pass_deadline()
    eventually(lambda: runtime.manager.refusing is not None)
    eventually(lambda: saved_count(memory, agent) == 1)
    error = time_out(stopping, clock)

    assert error.stuck == (agent.address,)
    assert error.unsaved == {}
    gate.open()
    eventually(lambda: not agent.status().running)
    assert saved_count(memory, agent) == 1


def test_a_hook_that_begins_late_and_does_not_end_loses_nothing(
    memory: MemoryStorage, clock: LifeClock
) -> None:
    """What was done before it is saved first, once there is no time left (HC-11, HC-14)."""
    turn, goodbye = Gate(), Gate()

    class Stuck(Late):
        """Does not say goodbye."""

        def on_hibernate(self) -> None:
            """Wait."""
            goodbye.pass_through()

    def add(me: Scripted) -> None:
        turn.pass_through()
        me.count += 1

    runtime = Runtime(memory, clock=clock)
    agent = runtime.get(Stuck, "a")
    agent.options(timeout=None).tell(Stuck.do, add)
    turn.wait_for_entry()
    stopping = begin(lambda: runtime.stop(5))
    clock.pass_deadline()
    eventually(lambda: runtime.manager.refusing is not None)
    clock.wait_for_waiter()
    turn.open()
    goodbye.wait_for_entry()
    eventually(lambda: saved_count(memory, agent) == 1)
    error = time_out(stopping, clock)
    goodbye.open()

    assert (error.stuck, error.unsaved) == ((agent.address,), {})


def busy(agent: AgentRef[Any]) -> Gate:
    """Keep an agent busy, so that a worker does what comes next."""
    gate = Gate()
    agent.options(timeout=None).tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    return gate


@pytest.mark.parametrize("base", [Scripted, Late])
def test_who_waits_for_a_hook_that_does_not_end_is_told(
    memory: MemoryStorage, clock: LifeClock, base: type[Scripted]
) -> None:
    """At the end of a stop nobody waits any more (HC-11, HC-14)."""
    goodbye = Gate()

    class Stuck(base):  # type: ignore[valid-type, misc]
        """Does not say goodbye."""

        def on_hibernate(self) -> None:
            """Wait."""
            goodbye.pass_through()

    runtime = Runtime(memory, clock=clock)
    agent = runtime.get(Stuck, "a").options(timeout=None)
    agent.ask(Stuck.add)
    turn = busy(agent)
    waiting = begin(agent.hibernate)
    eventually(lambda: agent.status().waiting == 1)
    turn.open()
    goodbye.wait_for_entry()
    stopping = begin(lambda: runtime.stop(5))
    clock.pass_deadline()
    error = time_out(stopping, clock)

    told = waiting.exception(PATIENCE)
    assert isinstance(told, RuntimeStoppedError)
    assert told.outcome == "not_applied"
    assert (error.stuck, error.unsaved) == ((agent.address,), {})
    goodbye.open()
    eventually(lambda: not agent.status().running)


def test_who_waits_for_a_removal_that_does_not_end_is_told(
    memory: MemoryStorage, storage: FaultyStorage, clock: LifeClock
) -> None:
    """The agent is named, and is still there afterwards (HC-11, HC-14)."""
    runtime = Runtime(storage, clock=clock, wake_interval=None)
    die_before(runtime.manager.mail, "_tidy")
    agent = runtime.get(Waiting, "a").options(timeout=None)
    agent.send(Receiver.take, "x")
    eventually(lambda: agent.ask(Receiver.received) == ["x"])
    gate = Gate()
    agent.tell(Waiting.wait, gate)
    gate.wait_for_entry()
    waiting = begin(agent.delete)
    eventually(lambda: agent.status().waiting == 1)
    with storage.hang_next("read") as hang:
        gate.open()
        assert hang.entered.wait(PATIENCE)
        stopping = begin(lambda: runtime.stop(5))
        clock.pass_deadline()
        error = time_out(stopping, clock)

        told = waiting.exception(PATIENCE)
        assert isinstance(told, RuntimeStoppedError)
        assert told.outcome == "not_applied"
        assert (error.stuck, error.unsaved) == ((agent.address,), {})
    eventually(lambda: not agent.status().running)
    assert memory.get_checkpoint(agent.address) is not None
