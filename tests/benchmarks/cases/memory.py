"""Memory of an agent that is awake and idle, with one int of state, of a million such agents.

Resident memory of the process after they were created and have answered once, less that before,
by agent. ``with its state`` is all of it; ``an agent`` is that less what a bare pydantic object
with the same field takes, of a million of them in a process of their own. pykka's actors hold
their int themselves, so nothing is taken off, and there are 10,000: it allows 22,112. Of its
threads what the kernel holds for each is left out, about 20 KiB more.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from pydantic import BaseModel

from tests.benchmarks.agents import Counter
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.peers.pykka import PykkaCounter
from tests.benchmarks.together import pipelined
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor import Reply

AGENTS = 1_000_000
ACTORS = 10_000
FIRST = 100
IN_FLIGHT = 1_000


class Bare(BaseModel):
    """The state of ``Counter`` alone."""

    count: int = 0


def torpor(lab: Lab) -> Figures:
    """Create agents by asking them; keep no replies."""
    agents = lab.count(AGENTS)
    with Runtime(f"sqlite:///{lab.folder}/store.db", max_live=2 * AGENTS) as runtime:

        def ask(n: int) -> Reply[int]:
            return runtime.get(Counter, f"{n}").submit(Counter.read)

        def create(numbers: range) -> None:
            assert set(pipelined(ask, numbers, in_flight=IN_FLIGHT)) == {0}

        create(range(-FIRST, 0))
        whole = _each(lab, agents, lambda: create(range(agents)))
        assert runtime.stats().live == agents + FIRST
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        bare = process.submit(_bare, lab, agents).result()
    return {"an agent": whole - bare, "with its state": whole}


def _bare(lab: Lab, count: int) -> float:
    kept = [Bare() for _ in range(FIRST)]
    return _each(lab, count, lambda: kept.extend(Bare() for _ in range(count)))


def pykka(lab: Lab) -> Figures:
    """Start actors and ask them; the registry of pykka keeps them alive."""
    actors = lab.count(ACTORS)

    def create(count: int) -> None:
        for _ in range(count):
            PykkaCounter.start().ask("read")

    create(FIRST)
    each = _each(lab, actors, lambda: create(actors))
    return {"an agent": each, "with its state": each}


def _each(lab: Lab, count: int, create: Callable[[], object]) -> float:
    before = lab.resident_bytes()
    create()
    return (lab.resident_bytes() - before) / count


CASE = Case(
    name="memory",
    rows="P3",
    title="memory of an awake, idle agent, of a million",
    figures={"an agent": Unit.BYTES, "with its state": Unit.BYTES},
    contenders={TORPOR: torpor, "pykka": pykka},
    bars=[Bar(figure="an agent", at_most=1024)],
    runs=3,
)
