"""A blocking ask may run the handler on its own thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.actors.kit import SOON, Scripted, new_runtime
from tests.runtime.kit import Gate, begin
from torpor import Agent, command
from torpor.testing import ManualClock

if TYPE_CHECKING:
    from torpor import Runtime
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage


class Placed(Agent):
    """Tells which thread its handlers run on."""

    def here(self) -> int:
        """Run anywhere."""
        return threading.get_ident()

    @command(thread="worker")
    def on_worker(self) -> int:
        """Never run on a caller's thread."""
        return threading.get_ident()

    def nest(self, depth: int) -> list[int]:
        """Have the next agent do the same; return all threads, this one first."""
        deeper: list[int] = []
        if depth > 1:
            deeper = self.runtime.get(Placed, str(depth - 1)).ask(Placed.nest, depth - 1)
        return [threading.get_ident(), *deeper]


def test_an_idle_agent_runs_on_its_callers_thread(runtime: Runtime) -> None:
    """No other thread is woken if the agent is live, unclaimed and its mailbox is empty."""
    agent = runtime.get(Placed, "a")
    agent.ask(Placed.here)

    assert agent.ask(Placed.here) == threading.get_ident()


def test_an_agent_asked_by_a_worker_runs_there(runtime: Runtime) -> None:
    """A handler's own asks run on its thread in turn."""
    first, second = runtime.get(Placed, "2").submit(Placed.nest, 2).get(timeout=SOON)

    assert first == second != threading.get_ident()


def test_submit_and_tell_never_run_on_the_senders_thread(agent: AgentRef[Scripted]) -> None:
    """Whoever does not wait goes on at once; a worker runs the handler."""
    assert agent.submit(Scripted.do, lambda _: threading.get_ident()).get(timeout=SOON) != (
        threading.get_ident()
    )
    ran, threads = threading.Event(), list[int]()

    def note(_: Scripted) -> None:
        threads.append(threading.get_ident())
        ran.set()

    agent.tell(Scripted.do, note)

    assert ran.wait(SOON)
    assert threads != [threading.get_ident()]


def test_a_method_opts_out(runtime: Runtime) -> None:
    """``@command(thread="worker")`` keeps a handler off its caller's thread."""
    agent = runtime.get(Placed, "a")
    agent.ask(Placed.here)

    assert agent.ask(Placed.on_worker) != threading.get_ident()


def test_a_busy_agent_runs_the_call_on_a_worker(agent: AgentRef[Scripted]) -> None:
    """If messages wait, an ask queues behind them and is run by a worker."""
    gate, order = Gate(), list[str]()
    agent.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    before = agent.submit(Scripted.do, lambda _: order.append("before"))
    asked, waits = threading.Event(), list[int]()

    def note(_: Scripted) -> int:
        order.append("asked")
        return threading.get_ident()

    def ask() -> Any:
        waits.append(threading.get_ident())
        asked.set()
        return agent.ask(Scripted.do, note)

    answer = begin(ask)
    assert asked.wait(SOON)
    gate.open()

    assert answer.result(SOON) not in {*waits, threading.get_ident()}
    before.get(timeout=SOON)
    assert order == ["before", "asked"]


def test_a_caller_runs_its_own_call_only(runtime: Runtime, storage: FaultyStorage) -> None:
    """Messages that arrive while a caller commits are left to the workers."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add)
    askers: list[int] = []

    def ask() -> int:
        askers.append(threading.get_ident())
        return agent.ask(Scripted.add)

    with storage.hang_next("commit") as hang:
        answer = begin(ask)
        assert hang.entered.wait(SOON)
        later = agent.submit(Scripted.do, lambda _: threading.get_ident())

    assert answer.result(SOON) == 2
    assert later.get(timeout=SOON) not in askers


def test_no_more_than_sixteen_run_on_one_thread(runtime: Runtime) -> None:
    """The seventeenth nested call goes to a worker: stacks stay shallow."""
    threads = runtime.get(Placed, "20").ask(Placed.nest, 20)

    assert threads[:16] == [threading.get_ident()] * 16
    assert threads[16] != threading.get_ident()
    assert len(threads) == 20


def test_the_nesting_ends_with_the_call(runtime: Runtime) -> None:
    """Calls one after the other are not nested, whether they succeed or fail."""
    agent = runtime.get(Scripted, "a")
    for _ in range(20):
        assert agent.ask(Scripted.do, lambda _: threading.get_ident()) == threading.get_ident()


def test_the_timeout_does_not_bound_the_handler() -> None:
    """It bounds the waiting for the agent; a late reply is still returned (HC-10)."""
    clock = ManualClock()
    with new_runtime(clock=clock) as runtime:
        agent = runtime.get(Scripted, "a").options(timeout=1)
        agent.ask(Scripted.read)

        def take_long(me: Scripted) -> int:
            clock.advance(100)
            return me.add(5)

        assert agent.ask(Scripted.do, take_long) == 5


def test_a_handlers_error_comes_out_of_ask_as_it_is(agent: AgentRef[Scripted]) -> None:
    """The exception that the handler raised is raised, with the state rolled back."""
    trouble = LookupError("no such thing")

    def fail(me: Scripted) -> None:
        me.count = 99
        raise trouble

    with pytest.raises(LookupError) as caught:
        agent.ask(Scripted.do, fail)

    assert caught.value is trouble
    assert agent.ask(Scripted.read) == 0
