"""10,000 first messages for 10,000 hibernated agents, all at once, on SQLite and on PostgreSQL.

One sender submits them all, then waits for each reply. ``one by one`` asks the same agents in a
new runtime, each after the reply of the one before. ``slowest`` is the longest of the calls at
once, from its submission to its reply. PostgreSQL is the server that ``TORPOR_TEST_POSTGRESQL``
names, by default the one on this machine.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.agents import Profile
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.places import postgresql
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor import Reply

AGENTS = 10_000
ONE_BY_ONE = "one by one"


def torpor(lab: Lab) -> Figures:
    """Submit to all at once."""
    figures: Figures = {}
    for name, url in _filled(lab):
        with Runtime(url, max_live=2 * AGENTS) as runtime:
            slowest = 0.0
            begin = time.perf_counter()
            replies = [
                (time.perf_counter(), runtime.get(Profile, f"{n}").submit(Profile.read))
                for n in range(lab.count(AGENTS))
            ]
            for sent, reply in replies:
                assert reply.get() == 1
                slowest = max(slowest, time.perf_counter() - sent)
            took = time.perf_counter() - begin
        figures |= {name: lab.count(AGENTS) / took, f"{name}, slowest": slowest}
    return figures


def one_by_one(lab: Lab) -> Figures:
    """Ask each after the other."""
    figures: Figures = {}
    for name, url in _filled(lab):
        with Runtime(url, max_live=2 * AGENTS) as runtime:
            begin = time.perf_counter()
            for n in range(lab.count(AGENTS)):
                assert runtime.get(Profile, f"{n}").ask(Profile.read) == 1
            figures[name] = lab.count(AGENTS) / (time.perf_counter() - begin)
    return figures


def _filled(lab: Lab) -> Iterator[tuple[str, str]]:
    file = f"sqlite:///{lab.folder}/store.db"
    _fill(lab, file)
    yield "SQLite", file
    with postgresql() as server:
        _fill(lab, server)
        yield "PostgreSQL", server


def _fill(lab: Lab, url: str) -> None:
    with Runtime(url, max_live=2 * AGENTS) as runtime:
        replies: list[Reply[int]] = [
            runtime.get(Profile, f"{n}").submit(Profile.add) for n in range(lab.count(AGENTS))
        ]
        for reply in replies:
            reply.get()


CASE = Case(
    name="stampede",
    rows="P13",
    title="10,000 first messages at once",
    figures={
        "SQLite": Unit.PER_SECOND,
        "SQLite, slowest": Unit.SECONDS,
        "PostgreSQL": Unit.PER_SECOND,
        "PostgreSQL, slowest": Unit.SECONDS,
    },
    contenders={TORPOR: torpor, ONE_BY_ONE: one_by_one},
    bars=[
        Bar(figure="SQLite", peer=ONE_BY_ONE, at_least=3),
        Bar(figure="SQLite, slowest", at_most=2),
        Bar(figure="PostgreSQL", peer=ONE_BY_ONE, at_least=3),
        Bar(figure="PostgreSQL, slowest", at_most=2),
    ],
)
