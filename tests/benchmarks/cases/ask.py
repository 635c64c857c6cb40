"""Blocking calls of agents in memory that change nothing, with a timeout of 30 s.

Every contender calls a method that returns an int from the state, and waits for it. Torpor's
agents live on SQLite at full durability: after each call it makes sure that nothing changed.
Pykka's actors hold the same state as plain Python objects and save nothing.

``one int`` and ``1 KB`` are one agent and one caller; ``1,000 agents`` are called in turn by 4
threads. ``awaited`` is one async handler with an int of state, called and awaited on the loop
on which it runs. The other systems answer with an int from one actor: autogen-core and xoscar
know awaited calls only, which stand in both columns.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.benchmarks.agents import KILOBYTE, Counter, Profile
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.peers import actors
from tests.benchmarks.peers.pykka import PykkaCounter
from tests.benchmarks.together import in_threads
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

AGENTS = 1_000
CALLERS = 4


def torpor(lab: Lab) -> Figures:
    """Ask; then show that a change deep inside the state would not have gone unnoticed."""
    with Runtime(f"sqlite:///{lab.folder}/store.db") as runtime:
        counter, profile = runtime.get(Counter, "one"), runtime.get(Profile, "one")
        many = [runtime.get(Counter, f"{n}") for n in range(AGENTS)]
        for agent in many:
            agent.ask(Counter.read)
        figures = _figures(
            lab,
            lambda: counter.ask(Counter.read),
            lambda: profile.ask(Profile.read),
            lambda n: many[n % AGENTS].ask(Counter.read),
        )
        profile.ask(Profile.amend, "changed")
        profile.hibernate()
        assert profile.ask(Profile.first) == "changed"
    return figures | {"awaited": asyncio.run(_await(lab))}


async def _await(lab: Lab) -> float:
    async with Runtime(f"sqlite:///{lab.folder}/awaited.db") as runtime:
        counter = runtime.get(Counter, "one")

        async def work(n: int) -> None:
            for _ in range(n):
                await counter.submit(Counter.aread)

        return 1e6 / await lab.arate(work)


def autogen(lab: Lab) -> Figures:
    """Send and await."""
    took = actors.autogen(lab)
    return {"one int": took, "awaited": took}


def xoscar(lab: Lab) -> Figures:
    """Call and await."""
    took = actors.xoscar(lab)
    return {"one int": took, "awaited": took}


def ray(lab: Lab) -> Figures:
    """Call and get."""
    return {"one int": actors.ray(lab)}


def thespian(lab: Lab) -> Figures:
    """Ask on one thread."""
    return {"one int": actors.thespian(lab)}


def pykka(lab: Lab) -> Figures:
    """Ask."""
    counter, profile = PykkaCounter.start(), PykkaCounter.start(KILOBYTE)
    many = [PykkaCounter.start() for _ in range(AGENTS)]
    return _figures(
        lab,
        lambda: counter.ask("read", timeout=30),
        lambda: profile.ask("read", timeout=30),
        lambda n: many[n % AGENTS].ask("read", timeout=30),
    )


def _figures(
    lab: Lab,
    ask_counter: Callable[[], object],
    ask_profile: Callable[[], object],
    ask_nth: Callable[[int], object],
) -> Figures:
    def again(ask: Callable[[], object]) -> Callable[[int], None]:
        def work(n: int) -> None:
            for _ in range(n):
                ask()

        return work

    return {
        "one int": 1e6 / lab.rate(again(ask_counter)),
        "1 KB": 1e6 / lab.rate(again(ask_profile)),
        "1,000 agents": lab.rate(lambda n: in_threads(CALLERS, n, lambda _, i: ask_nth(i))),
    }


CASE = Case(
    name="ask",
    rows="P1",
    title="blocking ask, agent in memory, nothing to save",
    figures={
        "one int": Unit.MICROSECONDS,
        "1 KB": Unit.MICROSECONDS,
        "1,000 agents": Unit.PER_SECOND,
        "awaited": Unit.MICROSECONDS,
    },
    contenders={
        TORPOR: torpor,
        "pykka": pykka,
        "autogen-core": autogen,
        "xoscar": xoscar,
        "Ray": ray,
        "thespian": thespian,
    },
    bars=[
        Bar(figure="one int", peer="pykka", at_least=15),
        Bar(figure="one int", at_most=10),
        Bar(figure="1 KB", at_most=20),
        Bar(figure="1,000 agents", peer="pykka", at_least=20),
        Bar(figure="one int", peer="autogen-core", at_least=10),
        Bar(figure="one int", peer="xoscar", at_least=10),
        Bar(figure="awaited", peer="autogen-core", at_least=10),
        Bar(figure="awaited", peer="xoscar", at_least=10),
    ],
)
