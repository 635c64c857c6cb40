"""The whole cycle of agents with one KB of state, by 64 callers: what several cases measure.

Each agent is called twice, each time in a new runtime or connection. Torpor's callers only
call: ``max_live`` makes the agents leave memory. pykka's start an actor, ask it, and stop it; it
loads its state when it starts and saves a changed one in a transaction before it answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.benchmarks.agents import Profile
from tests.benchmarks.peers.pykka import PykkaProfile, Rows
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.benchmarks.together import Sharing, TaskSharing

    Method = Callable[[Profile], int]

__all__ = ["CALLERS", "changed_then_read", "pykka_cycles", "task_cycles", "thread_cycles"]

CALLERS = 64


def thread_cycles(folder: Path, share: Sharing) -> Callable[[int], None]:
    """Return what takes n of Torpor's agents through their cycle, asked by threads."""
    url = _url(folder, share)

    def half(n: int, method: Method) -> None:
        with Runtime(url, max_live=CALLERS) as runtime:
            share(CALLERS, n, lambda _, i: runtime.get(Profile, f"{n} {i}").ask(method))

    return changed_then_read(half)


def task_cycles(folder: Path, share: TaskSharing) -> Callable[[int], None]:
    """Return what takes n of Torpor's agents through their cycle, awaited by tasks."""
    url = _url(folder, share)

    def half(n: int, method: Method) -> None:
        async def run() -> None:
            async with Runtime(url, max_live=CALLERS) as runtime:

                async def call(_: int, i: int) -> None:
                    await runtime.get(Profile, f"{n} {i}").submit(method)

                await share(CALLERS, n, call)

        asyncio.run(run())

    return changed_then_read(half)


def changed_then_read(half: Callable[[int, Method], None]) -> Callable[[int], None]:
    """Return what has ``half`` call each of n agents of Torpor to change, then to answer."""

    def work(n: int) -> None:
        half(n, Profile.add)
        half(n, Profile.read)

    return work


def pykka_cycles(folder: Path, share: Sharing) -> Callable[[int], None]:
    """Return what takes n of pykka's actors through their cycle."""
    path = folder / f"{share.__name__}.db"

    def half(n: int, message: str) -> None:
        rows = Rows(path)

        def call(_: int, i: int) -> None:
            actor = PykkaProfile.start(rows, f"{n} {i}")
            assert actor.ask(message, timeout=30) == 1
            actor.stop()

        share(CALLERS, n, call)
        rows.close()

    def work(n: int) -> None:
        half(n, "add")
        half(n, "read")

    return work


def _url(folder: Path, share: Sharing | TaskSharing) -> str:
    return f"sqlite:///{folder}/{share.__name__}.db"
