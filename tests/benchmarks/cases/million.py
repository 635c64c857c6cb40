"""A million agents in one SQLite file, at most 1,000 of them in memory at a time.

One sender keeps 1,000 calls in flight: first each agent is created with 0.9 KB of state and
hibernates, then agents picked at random, as many as a tenth, thaw and answer. ``growth`` is
how much the process has grown from the first fifth of the creations to the last.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.together import pipelined
from torpor import Agent, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor import Reply

AGENTS = 1_000_000
IN_FLIGHT = 1_000


class Person(Agent):
    """Holds 0.9 KB of state."""

    name: str = ""
    number: int = 0
    about: str = ""

    def introduce(self, number: int) -> int:
        """Fill in the state."""
        self.name, self.number, self.about = f"person {number}", number, "x" * 870
        return self.number

    def read(self) -> int:
        """Return what was filled in."""
        return self.number


def torpor(lab: Lab) -> Figures:
    """Create them all, then ask some."""
    agents = lab.count(AGENTS)
    path = lab.folder / "store.db"
    with Runtime(f"sqlite:///{path}", max_live=IN_FLIGHT) as runtime:

        def create(n: int) -> Reply[int]:
            return runtime.get(Person, f"{n}").submit(Person.introduce, n)

        def read(n: int) -> Reply[int]:
            return runtime.get(Person, f"{n}").submit(Person.read)

        begin = time.perf_counter()
        _call_all(create, range(agents // 5))
        warm = lab.resident_bytes()
        _call_all(create, range(agents // 5, agents))
        created = time.perf_counter() - begin
        growth = lab.resident_bytes() - warm
        sample = random.Random(0).choices(range(agents), k=agents // 10)
        begin = time.perf_counter()
        _call_all(read, sample)
        thawed = time.perf_counter() - begin
    return {
        "create, hibernate": agents / created,
        "thaw, answer": len(sample) / thawed,
        "growth": growth / 1024**2,
        "disk": path.stat().st_size / agents,
    }


def _call_all(call: Callable[[int], Reply[int]], numbers: Sequence[int]) -> None:
    answers = pipelined(call, numbers, in_flight=IN_FLIGHT)
    assert all(answer == number for answer, number in zip(answers, numbers, strict=True))


CASE = Case(
    name="million",
    rows="P9",
    title="a million agents of 0.9 KB",
    figures={
        "create, hibernate": Unit.PER_SECOND,
        "thaw, answer": Unit.PER_SECOND,
        "growth": Unit.MEBIBYTES,
        "disk": Unit.BYTES,
    },
    contenders={TORPOR: torpor},
    bars=[
        Bar(figure="create, hibernate", at_least=10_000),
        Bar(figure="thaw, answer", at_least=10_000),
        Bar(figure="growth", at_most=64),
        Bar(figure="disk", at_most=1_300),
    ],
    runs=3,
)
