"""An async handler begins in the middle of its call, in a current task that stays the same."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from tests.actors.kit import SOON, Scripted, held, new_runtime, run_loop
from tests.runtime.kit import Gate
from torpor import TurnCancelledError
from torpor.activation import Activation
from torpor.eager import begin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from torpor.ref import AgentRef
    from torpor.turn import Turn

where: ContextVar[str] = ContextVar("where", default="nowhere")


def with_agents(test: Callable[[Callable[[str], AgentRef[Scripted]]], Awaitable[None]]) -> None:
    """Run ``test`` on a loop with agents that are awake and at rest, by their keys."""

    async def main() -> None:
        async with new_runtime() as runtime:
            for key in "abc":
                await runtime.get(Scripted, key).submit(Scripted.do_async, _read)
            await test(lambda key: runtime.get(Scripted, key))

    run_loop(main())


def test_a_handler_that_does_not_wait_has_ended_when_its_call_returns() -> None:
    """It costs no round of the loop."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        reply = agent("a").submit(Scripted.do_async, _read)
        assert reply.done
        result: int = await reply
        assert result == 0

    with_agents(test)


def test_the_current_task_stays_the_same_while_a_handler_waits() -> None:
    """Timeouts, task groups and the scopes of anyio compare it."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        caller = asyncio.current_task()
        seen: list[Any] = []

        async def look(_: Scripted) -> None:
            for _number in range(3):
                seen.append(asyncio.current_task())
                await asyncio.sleep(0)

        reply = agent("a").submit(Scripted.do_async, look)
        assert asyncio.current_task() is caller
        await reply

        assert isinstance(seen[0], asyncio.Task)
        assert seen == [seen[0]] * 3
        assert seen[0] is not caller

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
        assert await agent("a").submit(Scripted.do_async, _read) == 1

    with_agents(test)


@pytest.mark.parametrize("waits", [False, True])
def test_each_handler_has_a_task_of_its_own(*, waits: bool) -> None:
    """What is kept by task, such as a database session, is not shared with the next agent."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        async def look(_: Scripted) -> asyncio.Task[Any] | None:
            if waits:
                await asyncio.sleep(0)
            return asyncio.current_task()

        replies = [agent(key).submit(Scripted.do_async, look) for key in "ab"]
        first, second = [await reply for reply in replies]
        assert len({first, second, asyncio.current_task(), None}) == 4

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


@pytest.mark.parametrize("rounds", [0, 1, 5])
def test_a_handler_that_waits_can_be_cancelled(rounds: int) -> None:
    """Before its task has taken a step of its own, and later."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        tasks: list[asyncio.Task[Any] | None] = []

        async def wait(me: Scripted) -> None:
            me.add()
            tasks.append(asyncio.current_task())
            await asyncio.Event().wait()

        reply = agent("a").submit(Scripted.do_async, wait)
        for _ in range(rounds):
            await asyncio.sleep(0)
        assert tasks[0] is not None
        tasks[0].cancel()

        with pytest.raises(TurnCancelledError):
            await reply
        assert await agent("a").submit(Scripted.read) == 0

    with_agents(test)


@pytest.mark.parametrize("rounds", [0, 1, 5])
def test_a_handler_may_catch_its_cancellation_and_go_on(rounds: int) -> None:
    """It takes up where it was cancelled, with what it waits for next."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        tasks: list[asyncio.Task[Any] | None] = []

        async def insist(me: Scripted) -> int:
            tasks.append(asyncio.current_task())
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            return me.add()

        reply = agent("a").submit(Scripted.do_async, insist)
        for _ in range(rounds):
            await asyncio.sleep(0)
        assert tasks[0] is not None
        tasks[0].cancel()
        result: int = await reply
        assert result == 1

    with_agents(test)


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_who_cancels_itself_and_ends_has_ended(rounds: int) -> None:
    """Its turn is kept, and nobody else is cancelled."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        async def cancel(me: Scripted) -> int:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return me.add()

        async def wait(me: Scripted) -> int:
            await asyncio.sleep(0)
            return me.add()

        replies = [agent("a").submit(Scripted.do_async, cancel)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        replies.append(agent("b").submit(Scripted.do_async, wait))
        assert [await reply for reply in replies] == [1, 1]

    with_agents(test)


def test_who_is_cancelled_at_once_cancels_what_it_waits_for() -> None:
    """As a task does that has waited for it: a child is not left behind."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        child = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)

        tasks: list[asyncio.Task[Any] | None] = []

        async def wait(_: Scripted) -> None:
            tasks.append(asyncio.current_task())
            await child

        reply = agent("a").submit(Scripted.do_async, wait)
        assert tasks[0] is not None
        tasks[0].cancel()
        with pytest.raises(TurnCancelledError):
            await reply
        assert child.cancelled()

    with_agents(test)


def test_a_handler_that_does_not_wait_has_a_task_that_ends() -> None:
    """Whoever asked to be called then is called, soon, and once."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        ended: list[asyncio.Task[Any]] = []

        async def end(_: Scripted) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.add_done_callback(ended.append)

        await agent("a").submit(Scripted.do_async, end)
        for _ in range(5):
            await asyncio.sleep(0)
        assert [task.exception() for task in ended] == [None]

    with_agents(test)


def test_a_runtime_may_come_to_a_loop_after_handlers_ran_on_its_own() -> None:
    """Tasks of the first loop carry nothing on the second."""
    runtime = new_runtime()
    assert runtime.get(Scripted, "a").ask(Scripted.do_async, _read) == 0

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
        agent.ask(Scripted.do_async, _read)
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
            agent.ask(Scripted.do_async, _read)
        first = agents[0].submit(Scripted.do_async, block)
        assert blocked.wait(SOON)
        second = agents[1].submit(Scripted.do_async, fails)
        third = agents[2].submit(Scripted.do_async, _read)
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


def test_no_task_is_kept_that_the_loop_has_begun_and_ended() -> None:
    """As loops with ``asyncio.eager_task_factory`` do. The list is of those to cancel."""

    def begin_at_once(loop: asyncio.AbstractEventLoop, steps: Any, context: Any = None) -> Any:
        task = begin(loop, steps, context or Context())
        if task is not None:
            return task
        ended = loop.create_future()
        ended.set_result(None)
        return ended

    async def main() -> None:
        async with new_runtime() as runtime:
            agent = runtime.get(Scripted, "a")
            asyncio.get_running_loop().set_task_factory(begin_at_once)
            for _ in range(130):
                await agent.submit(Scripted.do_async, _read)
            asyncio.get_running_loop().set_task_factory(None)
            assert not runtime.manager.loops._tasks

    run_loop(main())


def test_no_task_outlives_its_handler() -> None:
    """Who waits for all tasks of a loop, as some do when they stop, waits for handlers only."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        await asyncio.sleep(0)  # those that have begun the agents end
        await asyncio.sleep(0)
        before = asyncio.all_tasks()
        go = asyncio.Event()

        async def wait(_: Scripted) -> None:
            await go.wait()

        reply = agent("a").submit(Scripted.do_async, wait)
        await agent("b").submit(Scripted.do_async, _read)
        await asyncio.sleep(0)
        [handler] = asyncio.all_tasks() - before
        go.set()
        await reply
        await asyncio.wait([handler])
        assert asyncio.all_tasks() == before

    with_agents(test)


def test_one_that_awaits_call_after_call_lets_others_run() -> None:
    """Even if no handler ever waits."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        ran = asyncio.Event()
        asyncio.get_running_loop().call_soon(ran.set)
        for _ in range(1000):
            await agent("a").submit(Scripted.do_async, _read)
            if ran.is_set():
                return
        pytest.fail("the loop did not go on")

    with_agents(test)


def test_a_handler_has_one_context_from_its_first_step_to_its_last() -> None:
    """A copy of its caller's: what it sets stays its own."""

    async def test(agent: Callable[[str], AgentRef[Scripted]]) -> None:
        where.set("caller")
        seen: list[str] = []

        async def move(_: Scripted) -> None:
            seen.append(where.get())
            where.set("handler")
            await asyncio.sleep(0)
            seen.append(where.get())
            await asyncio.create_task(_note(seen))

        reply = agent("a").submit(Scripted.do_async, move)
        where.set("caller, later")
        await reply
        assert seen == ["caller", "handler", "handler"]
        assert where.get() == "caller, later"

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


async def _read(me: Scripted) -> int:
    return me.count


async def _note(seen: list[str]) -> None:
    seen.append(where.get())
