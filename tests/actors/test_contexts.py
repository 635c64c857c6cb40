"""Handlers run in a copy of the sender's context; a turn ends where its handler does."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from tests.actors.kit import SOON, Scripted, run_all_queued
from tests.runtime.kit import Gate, begin
from torpor.turn import Turn, current_turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor import Runtime
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage

request: ContextVar[str] = ContextVar("request", default="none")


def read(_: Scripted) -> str:
    """Return the sender's value."""
    return request.get()


async def read_later(_: Scripted) -> str:
    """Return the sender's value, after others had a chance to run."""
    await asyncio.sleep(0)
    return request.get()


def by_ask(agent: AgentRef[Scripted]) -> object:
    """Ask a sync handler."""
    return agent.ask(Scripted.do, read)


def by_submit(agent: AgentRef[Scripted]) -> object:
    """Submit to a sync handler."""
    return agent.submit(Scripted.do, read).get(timeout=SOON)


def by_proxy(agent: AgentRef[Scripted]) -> object:
    """Call by proxy."""
    return agent.proxy().do(read).get(timeout=SOON)


def by_async(agent: AgentRef[Scripted]) -> object:
    """Call an async handler."""
    return agent.submit(Scripted.do_async, read_later).get(timeout=SOON)


def by_tell(agent: AgentRef[Scripted]) -> object:
    """Tell a sync handler."""
    seen: list[str] = []
    agent.tell(Scripted.do, lambda me: seen.append(read(me)))
    run_all_queued(agent)
    return seen[0]


@pytest.mark.parametrize("call", [by_ask, by_submit, by_proxy, by_async, by_tell])
def test_handlers_see_the_senders_context(
    agent: AgentRef[Scripted], call: Callable[[AgentRef[Scripted]], object]
) -> None:
    """Whatever thread or loop runs them, with one value for each sender."""

    def send(value: str) -> object:
        request.set(value)
        return call(agent)

    for value in ("first", "second"):
        assert contextvars.copy_context().run(send, value) == value
    assert call(agent) == "none"


def test_the_context_is_that_of_the_sending(agent: AgentRef[Scripted]) -> None:
    """What the sender sets after it sent is not seen by the handler."""
    gate = Gate()
    agent.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()

    def send() -> object:
        request.set("at sending")
        reply = agent.submit(Scripted.do, read)
        request.set("afterwards")
        gate.open()
        return reply.get(timeout=SOON)

    assert contextvars.copy_context().run(send) == "at sending"


def test_a_handlers_context_is_its_own(agent: AgentRef[Scripted]) -> None:
    """What it sets reaches neither its caller nor the next handler."""

    def leave_a_trace(_: Scripted) -> None:
        request.set("trace")

    async def leave_a_trace_async(_: Scripted) -> None:
        request.set("trace")

    agent.ask(Scripted.do, leave_a_trace)
    agent.ask(Scripted.do_async, leave_a_trace_async)

    assert request.get() == "none"
    assert agent.ask(Scripted.do, read) == "none"


def test_the_context_goes_along_a_chain_of_calls(runtime: Runtime) -> None:
    """A handler's own calls pass on what it has, and what it set."""
    first, second = runtime.get(Scripted, "1"), runtime.get(Scripted, "2")

    def pass_on(_: Scripted) -> object:
        request.set(request.get() + " and more")
        return by_submit(second)

    def send() -> object:
        request.set("begun")
        return first.ask(Scripted.do, pass_on)

    assert contextvars.copy_context().run(send) == "begun and more"


def test_a_turn_is_the_current_one_in_its_handler_only(agent: AgentRef[Scripted]) -> None:
    """Sync and async; outside there is none."""
    turn = agent.ask(Scripted.do, lambda _: current_turn())
    assert isinstance(turn, Turn)

    async def look(_: Scripted) -> Turn | None:
        await asyncio.sleep(0)
        return current_turn()

    assert isinstance(agent.ask(Scripted.do_async, look), Turn)
    assert current_turn() is None


def test_a_task_of_a_running_turn_belongs_to_it(
    agent: AgentRef[Scripted], runtime: Runtime
) -> None:
    """Its tells are held with the turn's own, and dropped with them."""
    sink = runtime.get(Scripted, "sink")

    async def tell() -> None:
        sink.tell(Scripted.write, "from a task")

    async def spawn(me: Scripted) -> None:
        me.add()
        await asyncio.create_task(tell())
        message = "on purpose"
        raise LookupError(message)

    with pytest.raises(LookupError):
        agent.ask(Scripted.do_async, spawn)

    assert sink.ask(Scripted.do, lambda me: me.log) == ()


def test_a_task_that_outlives_its_turn_is_outside_of_it(
    agent: AgentRef[Scripted], runtime: Runtime
) -> None:
    """Its calls leave at once, like those of any program."""
    sink, told = runtime.get(Scripted, "sink"), threading.Event()
    tasks: list[asyncio.Task[None]] = []
    over: list[asyncio.Event] = []

    async def outlive() -> None:
        await over[0].wait()
        assert current_turn() is None
        sink.tell(Scripted.do, lambda _: told.set())
        assert await sink.submit(Scripted.add) == 1

    async def spawn(_: Scripted) -> asyncio.AbstractEventLoop:
        over.append(asyncio.Event())
        tasks.append(asyncio.create_task(outlive()))
        return asyncio.get_running_loop()

    loop = agent.ask(Scripted.do_async, spawn)
    loop.call_soon_threadsafe(over[0].set)

    assert told.wait(SOON)

    async def end() -> None:
        await tasks[0]

    asyncio.run_coroutine_threadsafe(end(), loop).result(SOON)


def test_a_thread_that_outlives_its_turn_is_outside_of_it(
    agent: AgentRef[Scripted], runtime: Runtime
) -> None:
    """Even with a copy of the turn's context its calls leave at once, and it waits for none."""
    sink = runtime.get(Scripted, "sink")
    contexts: list[contextvars.Context] = []
    agent.ask(Scripted.do, lambda _: contexts.append(contextvars.copy_context()))

    def work() -> int:
        sink.tell(Scripted.add)
        return agent.ask(Scripted.add) + sink.ask(Scripted.add)

    assert begin(lambda: contexts[0].run(work)).result(SOON) == 3


def test_a_tell_that_races_with_the_end_of_its_turn_is_sent(
    agent: AgentRef[Scripted], runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is held while the turn is open and leaves at once afterwards: it is never lost."""
    sink, told = runtime.get(Scripted, "sink"), threading.Event()
    at_the_turn, turn_over = threading.Event(), threading.Event()
    hold = Turn.hold

    def hold_later(turn: Turn, send: Callable[[], None]) -> bool:
        at_the_turn.set()
        assert turn_over.wait(SOON)
        return hold(turn, send)

    monkeypatch.setattr(Turn, "hold", hold_later)
    telling: list[Any] = []

    def tell_elsewhere(_: Scripted) -> None:
        context = contextvars.copy_context()
        telling.append(begin(lambda: context.run(sink.tell, Scripted.do, lambda _: told.set())))
        assert at_the_turn.wait(SOON)

    agent.ask(Scripted.do, tell_elsewhere)
    turn_over.set()

    telling[0].result(SOON)
    assert told.wait(SOON), "the tell is lost"


@pytest.mark.parametrize("way", ["ask", "submit", "async", "tell"])
def test_calls_leave_nothing_to_the_cycle_collector(
    agent: AgentRef[Scripted], storage: FaultyStorage, way: str
) -> None:
    """Call, turn and context are freed when the call is over, whether or not it saves."""
    del storage

    async def nothing(_: Scripted) -> None:
        return

    def call() -> None:
        if way == "ask":
            agent.ask(Scripted.add)
        elif way == "submit":
            agent.submit(Scripted.add).get(timeout=SOON)
        elif way == "async":
            agent.submit(Scripted.do_async, nothing).get(timeout=SOON)
        else:
            agent.tell(Scripted.add)

    def left_by_calls() -> int:
        for _ in range(200):
            call()
        agent.ask(Scripted.read)
        return gc.collect()

    left_by_calls()
    gc.disable()
    try:
        # What others leave, such as a runtime whose last thread ends only now, comes once.
        left = min(left_by_calls() for _ in range(3))
    finally:
        gc.enable()

    assert left < 200, f"{left / 200} objects per call"
