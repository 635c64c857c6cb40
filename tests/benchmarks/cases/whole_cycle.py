"""An agent's whole cycle at one KB of state, on SQLite at full durability.

Its first message changes it; it is saved and leaves memory; later it is brought back and
answers, and leaves again. 64 threads do so, or 64 tasks, each agent by agent: see ``cycles``.
LangGraph runs a graph of one node, then loads its state. From tasks both are called straight,
which is their best: pykka's calls from other threads and LangGraph's async saver are slower. All
begin the second half with a new runtime or connection. ``pipelined`` is one sender that
keeps 1,000 calls in flight.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.benchmarks.agents import Profile
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.cycles import (
    CALLERS,
    changed_then_read,
    pykka_cycles,
    task_cycles,
    thread_cycles,
)
from tests.benchmarks.peers.langgraph import OneNodeGraph
from tests.benchmarks.together import in_tasks, in_threads, pipelined, straight
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.together import Sharing
    from torpor import Reply

IN_FLIGHT = 1_000


def torpor(lab: Lab) -> Figures:
    """Ask twice; memory holds as many agents as there are calls in flight."""
    url = f"sqlite:///{lab.folder}/pipelined.db"

    def by_pipeline(n: int, method: Callable[[Profile], int]) -> None:
        with Runtime(url, max_live=IN_FLIGHT) as runtime:

            def call(i: int) -> Reply[int]:
                return runtime.get(Profile, f"{n} {i}").submit(method)

            assert set(pipelined(call, range(n), in_flight=IN_FLIGHT)) == {1}

    return {
        "64 threads": lab.rate(thread_cycles(lab.folder, in_threads)),
        "64 tasks": lab.rate(task_cycles(lab.folder, in_tasks)),
        "pipelined": lab.rate(changed_then_read(by_pipeline)),
    }


def pykka(lab: Lab) -> Figures:
    """Start, ask and stop, twice."""
    return _of_both(lab, partial(pykka_cycles, lab.folder))


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
