"""Memory of an agent that is awake and idle, with one int of state.

Resident memory of the process after 10,000 agents were created and have answered once, less
that before, by agent. Of pykka's threads it leaves out what the kernel holds for each, about
20 KiB more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.agents import Counter
from tests.benchmarks.case import TORPOR, Case, Figures, Lab, Unit
from tests.benchmarks.peers.pykka import PykkaCounter
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

AGENTS = 10_000
FIRST = 100


def torpor(lab: Lab) -> Figures:
    """Create agents by asking them."""
    with Runtime(f"sqlite:///{lab.folder}/store.db", max_live=2 * AGENTS) as runtime:
        figures = _figures(lab, lambda n: runtime.get(Counter, f"{n}").ask(Counter.read))
        assert runtime.stats().live >= lab.count(AGENTS)
    return figures


def pykka(lab: Lab) -> Figures:
    """Start actors and ask them; the registry of pykka keeps them alive."""
    return _figures(lab, lambda _: PykkaCounter.start().ask("read"))


def _figures(lab: Lab, create: Callable[[int], object]) -> Figures:
    for n in range(FIRST):
        create(-1 - n)
    before = lab.resident_bytes()
    for n in range(lab.count(AGENTS)):
        create(n)
    return {"an agent": (lab.resident_bytes() - before) / lab.count(AGENTS)}


CASE = Case(
    name="memory",
    rows="P3",
    title="memory of an idle agent that is awake, of 10,000",
    figures={"an agent": Unit.BYTES},
    contenders={TORPOR: torpor, "pykka": pykka},
)
