"""10,000 agents in memory that each await a tenth of a second, all called at once.

Torpor's agents have an async handler; pykka's sleep on their own threads. The actors exist
before the clock starts; nothing is there to save.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pykka as library

from tests.benchmarks.agents import Counter
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from torpor import Runtime

AGENTS = 10_000


def torpor(lab: Lab) -> Figures:
    """Submit to all, then await all."""

    async def run() -> float:
        count = lab.count(AGENTS)
        url = f"sqlite:///{lab.folder}/store.db"
        async with Runtime(url, max_live=2 * AGENTS) as runtime:
            agents = [runtime.get(Counter, f"{n}") for n in range(count)]
            for agent in agents:
                await agent.submit(Counter.aread)
            begin = time.perf_counter()
            for reply in [agent.submit(Counter.nap) for agent in agents]:
                await reply
            return time.perf_counter() - begin

    return {"all": asyncio.run(run())}


def pykka(lab: Lab) -> Figures:
    """Ask all without blocking, then get all."""
    actors = [Sleeper.start() for _ in range(lab.count(AGENTS))]
    begin = time.perf_counter()
    for future in [actor.ask("nap", block=False) for actor in actors]:
        future.get()
    return {"all": time.perf_counter() - begin}


class Sleeper(library.ThreadingActor):
    """Sleeps a tenth of a second for each message."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> None:
        """Sleep."""
        assert message == "nap"
        time.sleep(0.1)


CASE = Case(
    name="naps",
    rows="P10",
    title="10,000 agents that await 0.1 s at once",
    figures={"all": Unit.SECONDS},
    contenders={TORPOR: torpor, "pykka": pykka},
    bars=[Bar(figure="all", at_most=0.6), Bar(figure="all", peer="pykka", at_least=40)],
)
