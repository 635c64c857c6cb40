"""What the tests of actors share: a runtime that no failing test can hang on, and loops."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.runtime import kit
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from torpor.clock import Clock
    from torpor.ref import AgentRef
    from torpor.storage import Storage

__all__ = [
    "A_MOMENT",
    "SOON",
    "Scripted",
    "held",
    "new_runtime",
    "noting",
    "read_async",
    "run_all_queued",
    "run_loop",
    "with_agents",
]

R = TypeVar("R")

SOON: Final = 10.0
"""Seconds after which a test stops waiting for what should have happened long ago."""

A_MOMENT: Final = 0.02
"""Seconds that a call waits for what is not going to happen."""


class Scripted(kit.Scripted, kind="scripted"):
    """Counts, keeps a log, and runs whatever a test hands it as a turn."""

    def do(self, script: Callable[[Any], Any]) -> Any:
        """Run ``script`` with this agent, as a turn."""
        return script(self)


def held(gate: kit.Gate, act: Callable[[Any], R]) -> Callable[[Any], R]:
    """Return a turn that passes through ``gate`` and then does ``act``."""

    def turn(me: Scripted) -> R:
        gate.pass_through()
        return act(me)

    return turn


def noting(value: R, notes: list[R]) -> Callable[[Any], None]:
    """Return a turn that adds ``value`` to ``notes``."""

    def turn(_: Scripted) -> None:
        notes.append(value)

    return turn


def run_all_queued(agent: AgentRef[Scripted]) -> None:
    """Wait until what was sent so far has run, whether it was answered or not."""
    ran = threading.Event()
    agent.tell(Scripted.do, lambda _: ran.set())
    assert ran.wait(SOON), "the agent does not get on"


def new_runtime(
    storage: str | Storage = "memory:",
    *,
    max_workers: int = 256,
    mailbox: int = 10_000,
    clock: Clock | None = None,
) -> Runtime:
    """Return a runtime whose calls and whose end wait for a bounded time."""
    return Runtime(
        storage,
        timeout=SOON,
        drain_timeout=2,
        max_workers=max_workers,
        mailbox=mailbox,
        clock=clock,
        wake_interval=None,
    )


def run_loop(main: Coroutine[Any, Any, R]) -> R:
    """Run ``main`` on an event loop of its own, for a bounded time."""

    async def bounded() -> R:
        async with asyncio.timeout(2 * SOON):
            return await main

    return asyncio.run(bounded())


async def read_async(me: Scripted) -> int:
    """Change nothing, as an async turn."""
    return me.count


def with_agents(test: Callable[[Callable[[str], AgentRef[Scripted]]], Awaitable[None]]) -> None:
    """Run ``test`` on a loop with agents that are awake and at rest, by their keys."""

    async def main() -> None:
        async with new_runtime() as runtime:
            for key in "abc":
                await runtime.get(Scripted, key).submit(Scripted.do_async, read_async)
            await test(lambda key: runtime.get(Scripted, key))

    run_loop(main())
