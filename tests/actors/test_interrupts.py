"""A KeyboardInterrupt fails the turn it hits and releases what that held."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.actors.kit import SOON, Scripted, new_runtime, run_all_queued
from tests.runtime.kit import Gate, begin
from torpor import Agent, command
from torpor.clock import SystemClock
from torpor.manager import InstanceManager
from torpor.storage.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from torpor import Runtime
    from torpor.activation import Activation
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage

    T = TypeVar("T")


class Interrupt(Fault):
    """An interrupt that hits whoever carries out a storage operation, when it is told to."""

    def __init__(self, *, after: bool = False) -> None:
        self.gate = Gate()
        self._after = after

    def around(self, act: Callable[[], T]) -> T:
        """Be interrupted before or after ``act``."""
        if self._after:
            act()
        self.gate.pass_through()
        raise KeyboardInterrupt


class Fragile(Agent):
    """Is interrupted while its state is encoded."""

    count: int = 0

    def add(self) -> int:
        """Change the state."""
        self.count += 1
        return self.count

    def read(self) -> int:
        """Change nothing."""
        return self.count

    def checkpoint(self) -> dict[str, Any]:
        """Be interrupted at every third count."""
        if self.count == 3:
            raise KeyboardInterrupt
        return {"count": self.count}


def interrupt(me: Scripted) -> None:
    """Change state and thread, and be interrupted."""
    me.add(99)
    me.note("lost")
    raise KeyboardInterrupt


def test_an_interrupt_fails_the_turn_that_a_caller_runs(agent: AgentRef[Scripted]) -> None:
    """It reaches the caller; the turn is rolled back; the agent goes on."""
    agent.ask(Scripted.add)

    with pytest.raises(KeyboardInterrupt):
        agent.ask(Scripted.do, interrupt)

    assert not agent.status().running
    assert agent.ask(Scripted.read) == 1
    assert agent.ask(Scripted.notes) == []
    assert agent.ask(Scripted.add) == 2


def test_what_waits_behind_an_interrupted_turn_is_handled(agent: AgentRef[Scripted]) -> None:
    """Messages that arrived while the caller ran the handler get their turns."""
    gate = Gate()

    def hold(me: Scripted) -> None:
        gate.pass_through()
        interrupt(me)

    asks = begin(lambda: agent.ask(Scripted.do, hold))
    gate.wait_for_entry()
    waiting = [agent.submit(Scripted.add) for _ in range(3)]
    gate.open()

    assert isinstance(asks.exception(SOON), KeyboardInterrupt)
    assert [reply.get(timeout=SOON) for reply in waiting] == [1, 2, 3]


def test_an_interrupt_goes_through_nested_turns(
    agent: AgentRef[Scripted], runtime: Runtime
) -> None:
    """Every turn on the caller's stack is rolled back, none is wedged, no wait is left."""
    inner = runtime.get(Scripted, "inner")

    def outer(me: Scripted) -> None:
        me.add(5)
        inner.ask(Scripted.do, interrupt)

    with pytest.raises(KeyboardInterrupt):
        agent.ask(Scripted.do, outer)

    assert agent.ask(Scripted.add) == 1
    assert inner.ask(Scripted.add) == 1
    assert not runtime.manager.waits._edges


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_handler_that_ends_its_worker_ends_its_turn_only(
    agent: AgentRef[Scripted], kind: type[BaseException]
) -> None:
    """What is raised on a worker reaches the caller, and the worker goes on."""

    def leave(me: Scripted) -> None:
        me.add(99)
        raise kind

    for _ in range(10):
        with pytest.raises(kind):
            agent.submit(Scripted.do, leave).get(timeout=SOON)

    assert agent.submit(Scripted.add).get(timeout=SOON) == 1


def test_an_interrupt_while_the_state_is_encoded_fails_the_turn(runtime: Runtime) -> None:
    """The turn is over, rolled back and not saved; the agent is not wedged."""
    agent = runtime.get(Fragile, "a")
    agent.ask(Fragile.add)
    agent.ask(Fragile.add)

    with pytest.raises(KeyboardInterrupt):
        agent.ask(Fragile.add)

    assert not agent.status().running
    assert agent.ask(Fragile.read) == 2
    checkpoint = runtime.storage.get_checkpoint(agent.address)
    assert checkpoint is not None
    assert checkpoint.value == {"count": 2}


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupted_commit_is_sent_again(
    agent: AgentRef[Scripted], runtime: Runtime, storage: FaultyStorage, *, after: bool
) -> None:
    """The caller that carried it out is interrupted; its turn is saved once, by a resend."""
    fault = Interrupt(after=after)
    fault.gate.open()
    storage.next("commit", fault)

    with pytest.raises(KeyboardInterrupt):
        agent.ask(Scripted.add)

    assert agent.ask(Scripted.add) == 2
    checkpoint = runtime.storage.get_checkpoint(agent.address)
    assert checkpoint is not None
    assert checkpoint.value["count"] == 2


def test_those_who_wait_for_an_interrupted_commit_get_a_retry(
    agent: AgentRef[Scripted], runtime: Runtime, storage: FaultyStorage
) -> None:
    """Neither those in the batch nor those behind it learn of the interrupt of one caller."""
    other, third = runtime.get(Scripted, "b"), runtime.get(Scripted, "c")
    other.ask(Scripted.add)
    fault = Interrupt()
    storage.next("commit", fault)
    asks = begin(lambda: agent.ask(Scripted.add))
    fault.gate.wait_for_entry()
    replies = [other.submit(Scripted.add), third.submit(Scripted.add), agent.submit(Scripted.add)]
    run_all_queued(other)
    run_all_queued(third)
    fault.gate.open()

    assert isinstance(asks.exception(SOON), KeyboardInterrupt)
    assert [reply.get(timeout=SOON) for reply in replies] == [2, 1, 2]


def test_an_interrupted_batch_of_many_is_sent_again(
    runtime: Runtime, storage: FaultyStorage
) -> None:
    """An interrupt that hits a worker's commit costs its callers nothing but time."""
    agents = [runtime.get(Scripted, key) for key in "abcd"]
    for agent in agents:
        agent.ask(Scripted.add)
    first = Interrupt()
    second = Interrupt()
    second.gate.open()
    storage.next("commit", first)
    storage.next("commit", second)
    replies = [agents[0].submit(Scripted.add)]
    first.gate.wait_for_entry()
    replies += [agent.submit(Scripted.add) for agent in agents[1:]]
    for agent in agents[1:]:
        run_all_queued(agent)
    first.gate.open()

    assert [reply.get(timeout=SOON) for reply in replies] == [2] * 4


def test_an_interrupted_load_harms_nobody(runtime: Runtime, storage: FaultyStorage) -> None:
    """The caller that carried it out is interrupted; the agent and others thaw."""
    agent, other = runtime.get(Scripted, "a"), runtime.get(Scripted, "b")
    fault = Interrupt()
    storage.next("read", fault)
    asks = begin(lambda: agent.ask(Scripted.add))
    fault.gate.wait_for_entry()
    reply = other.submit(Scripted.add)
    fault.gate.open()

    assert isinstance(asks.exception(SOON), KeyboardInterrupt)
    assert reply.get(timeout=SOON) == 1
    assert agent.ask(Scripted.read) in {0, 1}
    assert agent.status().state == "live"


class InterruptedClock(SystemClock):
    """Interrupts the main thread while it waits for a reply, once."""

    armed = False

    def acquire(self, lock: threading.Lock, deadline: float | None) -> bool:
        """Acquire ``lock``, or be interrupted."""
        if self.armed and threading.current_thread() is threading.main_thread():
            self.armed = False
            raise KeyboardInterrupt
        return super().acquire(lock, deadline)


def test_an_interrupted_wait_withdraws_the_call() -> None:
    """A call that has not started when its caller is interrupted never runs."""
    clock = InterruptedClock()
    with new_runtime(clock=clock) as runtime:
        agent, gate = runtime.get(Scripted, "a"), Gate()
        agent.tell(Scripted.do, lambda _: gate.pass_through())
        gate.wait_for_entry()

        clock.armed = True
        with pytest.raises(KeyboardInterrupt):
            agent.ask(Scripted.add)
        gate.open()

        assert agent.ask(Scripted.read) == 0


class Single(Agent):
    """Notices when two of its turns overlap."""

    @command(thread="worker")
    def work(self, turn: Callable[[], None]) -> None:
        """Run ``turn`` on a worker."""
        turn()

    def rest(self) -> None:
        """Do nothing."""


def test_an_interrupt_after_the_claim_was_given_back_starts_nothing(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If others have the agent by then, it is not run a second time beside them."""
    agent, gate = runtime.get(Single, "a"), Gate()
    agent.ask(Single.rest)
    inside, most = list[int](), list[int]()

    def hold() -> None:
        inside.append(1)
        most.append(len(inside))
        gate.pass_through()
        inside.pop()

    rested = InstanceManager.rested

    def interrupted(manager: InstanceManager, activation: Activation) -> None:
        if threading.current_thread() is threading.main_thread() and not most:
            for _ in range(3):
                agent.tell(Single.work, hold)
            gate.wait_for_entry()
            raise KeyboardInterrupt
        rested(manager, activation)

    monkeypatch.setattr(InstanceManager, "rested", interrupted)
    with pytest.raises(KeyboardInterrupt):
        agent.ask(Single.rest)
    # A worker that runs the agent a second time does so before these jobs are done.
    for _ in range(runtime.manager.pool.slots):
        done = threading.Event()
        runtime.manager.pool.schedule(done.set)
        assert done.wait(SOON)
    gate.open()
    agent.submit(Single.rest).get(timeout=SOON)

    assert most == [1, 1, 1]
