"""An agent's whole cycle at one KB of state, on SQLite at full durability.

Its first message changes it; it is saved and leaves memory; later it is brought back and
answers, and leaves again. 64 threads do so, or 64 tasks, each agent by agent. With Torpor they
only call: ``max_live`` makes the agents leave. With pykka they start an actor, ask it, and stop
it; it loads its state when it starts and saves a changed one in a transaction before it answers.
LangGraph runs a graph of one node, then loads its state. From tasks both are called straight,
which is their best: pykka's calls from other threads and LangGraph's async saver are slower. All
begin the second half with a new runtime or connection. ``pipelined`` is one sender that
keeps 1,000 calls in flight.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.benchmarks.agents import Profile
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.peers.langgraph import OneNodeGraph
from tests.benchmarks.peers.pykka import PykkaProfile, Rows
from tests.benchmarks.together import in_tasks, in_threads, pipelined, straight
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.benchmarks.together import Sharing
    from torpor import Reply

CALLERS = 64
IN_FLIGHT = 1_000


def torpor(lab: Lab) -> Figures:
    """Ask twice; memory holds as many agents as there are calls in flight."""

    def by_threads(url: str, n: int, method: Callable[[Profile], int]) -> None:
        with Runtime(url, max_live=CALLERS) as runtime:
            in_threads(CALLERS, n, lambda _, i: runtime.get(Profile, f"{n} {i}").ask(method))

    def by_tasks(url: str, n: int, method: Callable[[Profile], int]) -> None:
        async def run() -> None:
            async with Runtime(url, max_live=CALLERS) as runtime:

                async def call(_: int, i: int) -> None:
                    await runtime.get(Profile, f"{n} {i}").submit(method)

                await in_tasks(CALLERS, n, call)

        asyncio.run(run())

    def by_pipeline(url: str, n: int, method: Callable[[Profile], int]) -> None:
        with Runtime(url, max_live=IN_FLIGHT) as runtime:

            def call(i: int) -> Reply[int]:
                return runtime.get(Profile, f"{n} {i}").submit(method)

            assert set(pipelined(call, range(n), in_flight=IN_FLIGHT)) == {1}

    def cycles(half: Callable[[str, int, Callable[[Profile], int]], None]) -> Callable[[int], None]:
        def work(n: int) -> None:
            url = f"sqlite:///{lab.folder}/{half.__name__}.db"
            half(url, n, Profile.add)
            half(url, n, Profile.read)

        return work

    return {
        "64 threads": lab.rate(cycles(by_threads)),
        "64 tasks": lab.rate(cycles(by_tasks)),
        "pipelined": lab.rate(cycles(by_pipeline)),
    }


def pykka(lab: Lab) -> Figures:
    """Start, ask and stop, twice."""

    def half(share: Sharing, n: int, message: str, path: Path) -> None:
        rows = Rows(path)

        def call(_: int, i: int) -> None:
            actor = PykkaProfile.start(rows, f"{n} {i}")
            assert actor.ask(message, timeout=30) == 1
            actor.stop()

        share(CALLERS, n, call)
        rows.close()

    def cycles(share: Sharing) -> Callable[[int], None]:
        def work(n: int) -> None:
            path = lab.folder / f"{share.__name__}.db"
            half(share, n, "add", path)
            half(share, n, "read", path)

        return work

    return _of_both(lab, cycles)


def langgraph(lab: Lab) -> Figures:
    """Run the graph, which saves; then load what it saved."""

    def cycles(share: Sharing) -> Callable[[int], None]:
        def work(n: int) -> None:
            path = lab.folder / f"{share.__name__}.db"
            with OneNodeGraph.open(path) as graph:
                share(CALLERS, n, lambda _, i: graph.add(f"{n} {i}"))
            with OneNodeGraph.open(path) as graph:
                share(CALLERS, n, lambda _, i: graph.read(f"{n} {i}"))

        return work

    return _of_both(lab, cycles)


def _of_both(lab: Lab, cycles: Callable[[Sharing], Callable[[int], None]]) -> Figures:
    return {"64 threads": lab.rate(cycles(in_threads)), "64 tasks": lab.rate(cycles(straight))}


CASE = Case(
    name="whole_cycle",
    rows="P4",
    title="create, save, hibernate; thaw, answer",
    figures=dict.fromkeys(["64 threads", "64 tasks", "pipelined"], Unit.PER_SECOND),
    contenders={TORPOR: torpor, "pykka + SQLite": pykka, "LangGraph": langgraph},
    bars=[
        Bar(figure="64 threads", peer="pykka + SQLite", at_least=6),
        Bar(figure="64 threads", peer="LangGraph", at_least=20),
        Bar(figure="64 tasks", peer="pykka + SQLite", at_least=6),
        Bar(figure="64 tasks", peer="LangGraph", at_least=20),
    ],
)
