"""An async handler begins in the middle of its call, and goes on from there."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import Context
from typing import TYPE_CHECKING, Any

import pytest

from tests.actors.kit import SOON, Scripted, held, new_runtime, read_async, run_loop, with_agents
from tests.runtime.kit import Gate
from torpor.activation import Activation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from torpor.ref import AgentRef
    from torpor.turn import Turn


def test_a_handler_that_does_not_wait_has_ended_when_its_call_returns() -> None:
    """It costs no round of the loop."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        reply = agent("a").submit(Scripted.do_async, read_async)
        assert reply.done
        result: int = await reply
        assert result == 0

    with_agents(test)


def test_a_handler_may_begin_another() -> None:
    """In a context that knows nothing of its turn: each has a task of its own, and ends."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        async def inner(me: Scripted) -> int:
            await asyncio.sleep(0)
            return me.add()

        async def outer(me: Scripted) -> Any:
            reply = Context().run(agent("b").submit, Scripted.do_async, inner)
            await asyncio.sleep(0)
            me.add()
            return await reply

        assert await agent("a").submit(Scripted.do_async, outer) == 1
        assert await agent("a").submit(Scripted.do_async, read_async) == 1

    with_agents(test)


def test_a_handler_that_waits_goes_on_to_its_end() -> None:
    """However often it waits, and for what."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        async def count(me: Scripted) -> int:
            for _ in range(3):
                await asyncio.sleep(0)
                me.add()
            assert await asyncio.wait_for(asyncio.sleep(0, "slept"), SOON) == "slept"
            return me.count

        assert await agent("a").submit(Scripted.do_async, count) == 3

    with_agents(test)


def test_what_a_handler_waits_for_may_fail() -> None:
    """The exception is raised where it waits; it may catch it."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        async def fail() -> None:
            raise LookupError

        async def catch(me: Scripted) -> int:
            with pytest.raises(LookupError):
                await asyncio.create_task(fail())
            return me.add()

        assert await agent("a").submit(Scripted.do_async, catch) == 1

    with_agents(test)


def test_a_runtime_may_come_to_a_loop_after_handlers_ran_on_its_own() -> None:
    """Tasks of the first loop carry nothing on the second."""
    runtime = new_runtime()
    assert runtime.get(Scripted, "a").ask(Scripted.do_async, read_async) == 0

    async def wait(me: Scripted) -> int:
        await asyncio.sleep(0.001)
        return me.add()

    async def main() -> None:
        async with runtime:
            agent = runtime.get(Scripted, "a")
            assert await agent.submit(Scripted.do_async, wait) == 1

    run_loop(main())


def test_calls_on_their_way_to_the_first_loop_reach_the_second() -> None:
    """Their handlers begin on the thread of the loop that they go on with."""
    runtime = new_runtime()
    blocked, go = threading.Event(), threading.Event()

    async def block(_: Scripted) -> None:
        blocked.set()
        assert go.wait(SOON)

    async def wait(_: Scripted) -> asyncio.AbstractEventLoop:
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop()

    first, second = [runtime.get(Scripted, key) for key in "ab"]
    for agent in (first, second):
        agent.ask(Scripted.do_async, read_async)
    first.submit(Scripted.do_async, block)
    assert blocked.wait(SOON)
    reply = second.submit(Scripted.do_async, wait)
    while not runtime.manager.loops._starting:
        time.sleep(0.001)

    async def main() -> None:
        async with runtime:
            go.set()
            assert await reply is asyncio.get_running_loop()

    run_loop(main())


def test_what_fails_as_a_turn_ends_holds_up_nobody_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Calls of other threads begin in one burst; who made the one that fails is told."""
    end_well = Activation.end_well

    def fail(activation: Activation, turn: Turn, result: Any) -> None:
        if result == "fails":
            raise LookupError(result)
        end_well(activation, turn, result)

    monkeypatch.setattr(Activation, "end_well", fail)
    with new_runtime() as runtime:
        blocked, go = threading.Event(), threading.Event()

        async def block(_: Scripted) -> None:
            blocked.set()
            assert go.wait(SOON)

        async def fails(_: Scripted) -> str:
            return "fails"

        agents = [runtime.get(Scripted, key) for key in "abc"]
        for agent in agents:
            agent.ask(Scripted.do_async, read_async)
        first = agents[0].submit(Scripted.do_async, block)
        assert blocked.wait(SOON)
        second = agents[1].submit(Scripted.do_async, fails)
        third = agents[2].submit(Scripted.do_async, read_async)
        while len(runtime.manager.loops._starting) < 2:
            time.sleep(0.001)
        go.set()
        assert [reply.get() for reply in (first, third)] == [None, 0]
        with pytest.raises(LookupError, match="fails"):
            second.get()
        assert agents[1].ask(Scripted.read) == 0


def test_a_callback_that_fails_keeps_nobody_else_waiting(
    agent: AgentRef[Scripted], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; whoever waits for the same reply gets it at once."""
    gate = Gate()
    reply = agent.submit(Scripted.do, held(gate, lambda _: "done"))
    gate.wait_for_entry()

    def fail() -> None:
        msg = "on purpose"
        raise LookupError(msg)

    then = threading.Event()
    reply.on_settled(fail)
    reply.on_settled(then.set)
    gate.open()
    assert then.wait(SOON)
    assert "on purpose" in caplog.text


def test_one_that_awaits_call_after_call_lets_others_run() -> None:
    """Even if no handler ever waits."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        ran = asyncio.Event()
        asyncio.get_running_loop().call_soon(ran.set)
        for _ in range(1000):
            await agent("a").submit(Scripted.do_async, read_async)
            if ran.is_set():
                return
        pytest.fail("the loop did not go on")

    with_agents(test)


def test_agents_that_call_one_another_may_be_many() -> None:
    """They do not begin inside of one another: the stack would end."""

    async def main() -> None:
        async with new_runtime() as runtime:

            def chain(n: int) -> Callable[[Scripted], Coroutine[Any, Any, int]]:
                async def call(_: Scripted) -> int:
                    if n == 0:
                        return 0
                    following = runtime.get(Scripted, f"{n}")
                    below: int = await following.submit(Scripted.do_async, chain(n - 1))
                    return below + 1

                return call

            async with asyncio.timeout(SOON):
                first = runtime.get(Scripted, "first")
                assert await first.submit(Scripted.do_async, chain(500)) == 500

    run_loop(main())
