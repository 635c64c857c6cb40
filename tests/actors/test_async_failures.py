"""Async handlers that fail or are cancelled are rolled back, and answered."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.actors.kit import Scripted, new_runtime, run_loop
from torpor import TurnCancelledError, loops
from torpor.loops import AsyncTurns

if TYPE_CHECKING:
    from torpor.activation import Activation
    from torpor.ref import AgentRef
    from torpor.turn import Turn


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
