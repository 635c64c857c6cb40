"""Messages that nobody waits for, until the last one is handled.

Every contender's handler reads an int of the state. That all are handled is known from a call
of each agent behind them, which is waited for and counted in. Torpor's agents live on SQLite at
full durability and have room for all messages in their mailboxes, as pykka's have.

One agent gets all messages in one stream. A thousand get 10 each in turn from 4 threads, which
then wait for all of them, and so on: more than a few messages seldom wait for one of many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.agents import Counter
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.peers.pykka import PykkaCounter
from tests.benchmarks.together import in_threads
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

AGENTS = 1_000
SENDERS = 4
BURST = 10 * AGENTS


def torpor(lab: Lab) -> Figures:
    """Tell, then ask once."""
    with Runtime(f"sqlite:///{lab.folder}/store.db", mailbox=10**9) as runtime:
        agents = [runtime.get(Counter, f"{n}") for n in range(AGENTS)]

        def wait_for(count: int) -> None:
            for reply in [agent.submit(Counter.read) for agent in agents[:count]]:
                reply.get()

        wait_for(AGENTS)
        return _figures(lab, lambda n: agents[n].tell(Counter.read), wait_for)


def pykka(lab: Lab) -> Figures:
    """Tell, then ask once."""
    actors = [PykkaCounter.start() for _ in range(AGENTS)]

    def wait_for(count: int) -> None:
        for future in [actor.ask("read", block=False) for actor in actors[:count]]:
            future.get()

    return _figures(lab, lambda n: actors[n].tell("read"), wait_for)


def _figures(lab: Lab, tell: Callable[[int], object], wait_for: Callable[[int], None]) -> Figures:
    def to_one(n: int) -> None:
        for _ in range(n):
            tell(0)
        wait_for(1)

    def to_many(n: int) -> None:
        for _ in range(n):
            in_threads(SENDERS, BURST, lambda _, i: tell(i % AGENTS))
            wait_for(AGENTS)

    return {
        "1 agent, 1 sender": lab.rate(to_one),
        "1,000 agents, 4 senders": lab.rate(to_many, begin_with=1) * BURST,
    }


CASE = Case(
    name="tell",
    rows="P2",
    title="tell until all are handled, nothing to save",
    figures={"1 agent, 1 sender": Unit.PER_SECOND, "1,000 agents, 4 senders": Unit.PER_SECOND},
    contenders={TORPOR: torpor, "pykka": pykka},
    bars=[
        Bar(figure="1 agent, 1 sender", peer="pykka", at_least=8),
        Bar(figure="1,000 agents, 4 senders", peer="pykka", at_least=20),
    ],
)
