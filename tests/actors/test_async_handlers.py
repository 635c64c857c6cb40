"""Async handlers are turns like others, and while they await they hold up nobody else."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.actors.kit import A_MOMENT, SOON, Scripted, new_runtime, run_loop
from tests.runtime.kit import activation_of

if TYPE_CHECKING:
    from torpor import Reply, Runtime
    from torpor.ref import AgentRef


def test_a_handler_runs_in_a_task_from_its_first_step(agent: AgentRef[Scripted]) -> None:
    """So timeouts and task groups of asyncio work in it."""

    async def use_asyncio(_: Scripted) -> str:
        assert asyncio.current_task() is not None
        async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, "slept"))
        return task.result()

    assert agent.ask(Scripted.do_async, use_asyncio) == "slept"


def test_a_timeout_cancels_within_the_handler(agent: AgentRef[Scripted]) -> None:
    """``asyncio.timeout`` in a handler ends what it guards, and not the turn."""

    async def give_up(me: Scripted) -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(A_MOMENT):
                await asyncio.Event().wait()
        return me.add()

    assert agent.ask(Scripted.do_async, give_up) == 1


def test_while_one_awaits_its_agent_takes_no_other_message() -> None:
    """Messages behind an awaiting handler wait for its end, and keep their order."""

    async def main() -> None:
        async with new_runtime() as runtime:
            agent = runtime.get(Scripted, "a")
            begun, go = asyncio.Event(), asyncio.Event()

            async def slow(me: Scripted) -> None:
                begun.set()
                me.write("begun")
                await go.wait()
                me.write("ended")

            async def quick(me: Scripted) -> None:
                me.write("async")

            replies = [agent.submit(Scripted.do_async, slow)]
            await begun.wait()
            replies.append(agent.submit(Scripted.write, "sync"))
            replies.append(agent.submit(Scripted.do_async, quick))
            assert await runtime.get(Scripted, "b").submit(Scripted.read) == 0
            assert not any(reply.done for reply in replies)
            assert agent.status().running

            go.set()
            await asyncio.gather(*replies)

            log = await agent.submit(Scripted.do, lambda me: me.log)
            assert log == ("begun", "ended", "sync", "async")

    run_loop(main())


def test_while_it_awaits_it_holds_no_worker() -> None:
    """Hundreds of agents may await at once on two workers, and others still run."""

    async def main() -> None:
        async with new_runtime(max_workers=2) as runtime:
            go = asyncio.Event()
            begun = asyncio.Semaphore(0)

            async def slow(me: Scripted) -> int:
                begun.release()
                await go.wait()
                return me.add()

            waiting = [
                runtime.get(Scripted, str(i)).submit(Scripted.do_async, slow) for i in range(300)
            ]
            for _ in waiting:
                await begun.acquire()
            assert await runtime.get(Scripted, "other").submit(Scripted.add) == 1
            assert runtime.stats().workers <= 2
            assert runtime.stats().running == 300
            go.set()
            assert await asyncio.gather(*waiting) == [1] * 300

    run_loop(main())


def test_async_handlers_await_other_agents(agent: AgentRef[Scripted], runtime: Runtime) -> None:
    """``await ref.submit(…)`` is how a handler asks."""
    other = runtime.get(Scripted, "other")

    async def ask(_: Scripted) -> int:
        return await other.submit(Scripted.add, 3)

    assert agent.ask(Scripted.do_async, ask) == 3


def test_a_reply_can_be_awaited_from_any_loop(agent: AgentRef[Scripted]) -> None:
    """Also from one that the runtime knows nothing of, more than once, and from many tasks."""

    async def slow(me: Scripted) -> int:
        await asyncio.sleep(0)
        return me.add()

    async def main() -> list[int]:
        reply: Reply[int] = agent.submit(Scripted.do_async, slow)

        async def wait() -> int:
            return await reply

        return [*await asyncio.gather(wait(), wait()), await reply]

    assert run_loop(main()) == [1, 1, 1]
    assert run_loop(main()) == [2, 2, 2]


def test_handlers_of_one_agent_run_one_at_a_time() -> None:
    """However many async and sync messages arrive, their turns do not overlap."""

    async def main() -> None:
        async with new_runtime() as runtime:
            agent = runtime.get(Scripted, "a")

            async def add(me: Scripted) -> int:
                before = me.count
                await asyncio.sleep(0)
                me.count = before + 1
                return me.count

            replies: list[Any] = [
                agent.submit(Scripted.do_async, add) if i % 3 else agent.submit(Scripted.add)
                for i in range(150)
            ]
            assert await asyncio.gather(*replies) == list(range(1, 151))

    run_loop(main())


def test_a_turn_that_is_over_leaves_nothing_on_the_loop(
    agent: AgentRef[Scripted], runtime: Runtime
) -> None:
    """Tasks are forgotten when they end."""

    async def nothing(_: Scripted) -> None:
        await asyncio.sleep(0)

    for _ in range(10):
        agent.ask(Scripted.do_async, nothing)
    loop = runtime.manager.loops._loop
    assert loop is not None
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(SOON)

    assert not runtime.manager.loops._tasks
    assert activation_of(agent, runtime).turn is None
