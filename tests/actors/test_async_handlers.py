"""Async handlers run inside a Task on an event loop; everything else stays off it."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.actors.kit import A_MOMENT, SOON, Scripted, held, new_runtime, run_loop
from tests.runtime.kit import Gate, activation_of
from torpor import BlockingCallError, TurnCancelledError, loops
from torpor.loops import AsyncTurns
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor import Reply, Runtime
    from torpor.activation import Activation
    from torpor.ref import AgentRef
    from torpor.storage import Change, Record
    from torpor.storage.records import Outcome, Space
    from torpor.turn import Turn


class WitnessStorage(MemoryStorage):
    """Notes which threads use it."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[int] = set()
        self.writers: set[int] = set()

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        self.readers.add(threading.get_ident())
        return super()._read(space, keys)

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        self.writers.add(threading.get_ident())
        return super()._commit(changes)


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


def test_async_handlers_run_on_the_callers_loop() -> None:
    """Under ``async with Runtime(…)`` what handlers share with the program shares its loop."""

    async def main() -> None:
        async def where(_: Scripted) -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        async with new_runtime() as runtime:
            agent = runtime.get(Scripted, "a")
            assert await agent.submit(Scripted.do_async, where) is asyncio.get_running_loop()
            from_thread = await asyncio.to_thread(agent.ask, Scripted.do_async, where)
            assert from_thread is asyncio.get_running_loop()

    run_loop(main())


def test_without_a_callers_loop_they_run_on_a_private_one(agent: AgentRef[Scripted]) -> None:
    """A program without asyncio can use async handlers."""

    async def where(_: Scripted) -> tuple[int, str]:
        return threading.get_ident(), threading.current_thread().name

    thread, name = agent.ask(Scripted.do_async, where)

    assert thread != threading.get_ident()
    assert name == "torpor-loop"
    assert agent.ask(Scripted.do_async, where) == (thread, name), "there is one"


def test_a_callers_loop_takes_the_place_of_the_private_one() -> None:
    """``async with`` after async turns outside of it neither hangs nor loses them."""
    runtime = new_runtime()
    agent = runtime.get(Scripted, "a")

    async def where(_: Scripted) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    private = agent.ask(Scripted.do_async, where)

    async def main() -> None:
        async with runtime:
            loop = await agent.submit(Scripted.do_async, where)
            assert loop is asyncio.get_running_loop() is not private

    run_loop(main())


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


def test_no_sync_turn_thaw_or_commit_runs_on_a_loop() -> None:
    """A loop's thread runs async handlers and nothing else."""

    async def main() -> None:
        loop_thread = threading.get_ident()
        with WitnessStorage() as storage:
            async with new_runtime(storage) as runtime:
                agent = runtime.get(Scripted, "a")

                async def change(me: Scripted) -> int:
                    return me.add() and threading.get_ident()

                def where(me: Scripted) -> int:
                    return me.add() and threading.get_ident()

                assert await agent.submit(Scripted.do_async, change) == loop_thread
                assert await agent.submit(Scripted.do, where) != loop_thread
                await agent.ahibernate()
                assert await agent.submit(Scripted.do_async, change) == loop_thread
                await agent.adelete()
                assert await agent.submit(Scripted.read) == 0
                await runtime.get(Scripted, "b").submit(Scripted.do_async, change)

            assert storage.readers
            assert storage.writers
            assert loop_thread not in storage.readers | storage.writers

    run_loop(main())


def asks(agent: AgentRef[Scripted]) -> object:
    """Block in ``ask``."""
    return agent.ask(Scripted.add)


def gets(agent: AgentRef[Scripted]) -> object:
    """Block in ``Reply.get``."""
    gate = Gate()
    reply = agent.submit(Scripted.do, held(gate, repr))
    try:
        return reply.get()
    finally:
        gate.open()


def deletes(agent: AgentRef[Scripted]) -> object:
    """Block in ``delete``."""
    agent.delete()
    return None


def hibernates(agent: AgentRef[Scripted]) -> object:
    """Block in ``hibernate``."""
    agent.hibernate()
    return None


@pytest.mark.parametrize("block", [asks, gets, deletes, hibernates])
def test_what_blocks_is_refused_on_a_loops_thread(
    block: Callable[[AgentRef[Scripted]], object],
) -> None:
    """It raises before anything was done, and says what to use instead."""

    async def main() -> None:
        async with new_runtime() as runtime:
            agent = runtime.get(Scripted, "a")
            await agent.submit(Scripted.add, 5)

            with pytest.raises(BlockingCallError, match="await") as caught:
                block(agent)

            assert caught.value.outcome == "not_run"
            assert await agent.submit(Scripted.read) == 5
            assert agent.status().state == "live"

    run_loop(main())


@pytest.mark.parametrize("block", [asks, gets])
def test_async_handlers_may_not_block(
    agent: AgentRef[Scripted], runtime: Runtime, block: Callable[[AgentRef[Scripted]], object]
) -> None:
    """The same holds inside a handler, which would stop every other one."""
    other = runtime.get(Scripted, "other")

    async def misbehave(_: Scripted) -> object:
        return block(other)

    with pytest.raises(BlockingCallError):
        agent.ask(Scripted.do_async, misbehave)


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


def test_a_failing_async_handler_is_rolled_back(agent: AgentRef[Scripted]) -> None:
    """Its caller gets the exception that it raised; its agent goes on."""

    async def fail(me: Scripted) -> None:
        me.add(99)
        await asyncio.sleep(0)
        me.note("lost")
        message = "on purpose"
        raise LookupError(message)

    with pytest.raises(LookupError, match="on purpose"):
        agent.ask(Scripted.do_async, fail)

    assert agent.ask(Scripted.read) == 0
    assert agent.ask(Scripted.notes) == []


def test_a_cancelled_handler_is_rolled_back(agent: AgentRef[Scripted]) -> None:
    """Its caller gets a ``TurnCancelledError`` and no ``CancelledError`` of its own."""

    async def cancel(me: Scripted) -> None:
        me.add(99)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(TurnCancelledError) as caught:
        agent.ask(Scripted.do_async, cancel)

    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert caught.value.outcome == "not_applied"
    assert agent.ask(Scripted.read) == 0


def test_a_handler_cancelled_before_its_first_step_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its caller is told, and its agent is not wedged."""
    monkeypatch.setattr(loops, "_BEGUN_IN_A_ROW", 1)  # so none begins in its call
    start = AsyncTurns._start

    def start_and_cancel(turns: AsyncTurns, activation: Activation, turn: Turn) -> None:
        start(turns, activation, turn)
        turns._cancel_all()  # what stopping does on the loop

    monkeypatch.setattr(AsyncTurns, "_start", start_and_cancel)

    async def main() -> None:
        async with new_runtime() as runtime:
            agent = runtime.get(Scripted, "a")
            await agent.submit(Scripted.read)

            async def never(me: Scripted) -> int:
                return me.add()

            with pytest.raises(TurnCancelledError):
                await agent.submit(Scripted.do_async, never)
            monkeypatch.undo()

            assert await agent.submit(Scripted.read) == 0
            assert await agent.submit(Scripted.do_async, never) == 1

    run_loop(main())


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
