"""One agent with 500 calls in flight, each durable on SQLite before its reply.

The one sender keeps 500 replies waited for: a new call for each reply that came.
"""

from __future__ import annotations

from tests.benchmarks.agents import Profile
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.together import pipelined
from torpor import Runtime

IN_FLIGHT = 500


def torpor(lab: Lab) -> Figures:
    """Submit changes of one KB of state."""
    with Runtime(f"sqlite:///{lab.folder}/store.db") as runtime:
        agent = runtime.get(Profile, "hot")

        def work(n: int) -> None:
            for _ in pipelined(lambda _: agent.submit(Profile.add), range(n), in_flight=IN_FLIGHT):
                pass

        return {"turns": lab.rate(work)}


CASE = Case(
    name="hot_agent",
    rows="P6",
    title="durable turns of one agent, 500 in flight",
    figures={"turns": Unit.PER_SECOND},
    contenders={TORPOR: torpor},
    bars=[Bar(figure="turns", at_least=20_000)],
)
