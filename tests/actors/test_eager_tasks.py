"""An async handler has a task and a context of its own: they stay the same, and end with it."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from tests.actors.kit import Scripted, new_runtime, read_async, run_loop, with_agents
from torpor import TurnCancelledError
from torpor.eager import begin

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.ref import AgentRef

where: ContextVar[str] = ContextVar("where", default="nowhere")


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
                await agent.submit(Scripted.do_async, read_async)
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
        await agent("b").submit(Scripted.do_async, read_async)
        await asyncio.sleep(0)
        [handler] = asyncio.all_tasks() - before
        go.set()
        await reply
        await asyncio.wait([handler])
        assert asyncio.all_tasks() == before

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


async def _note(seen: list[str]) -> None:
    seen.append(where.get())
