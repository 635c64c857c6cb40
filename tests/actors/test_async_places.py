"""Async handlers run on an event loop; everything else, and what blocks, stays off it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.actors.kit import Scripted, held, new_runtime, run_loop
from tests.runtime.kit import Gate
from torpor import BlockingCallError
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor import Runtime
    from torpor.ref import AgentRef
    from torpor.storage import Change, Record
    from torpor.storage.records import Outcome, Space


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
