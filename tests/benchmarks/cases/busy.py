"""The whole cycle while another thread of the process computes without pause.

The same work as ``whole_cycle``. ``p99`` is of single calls, of both halves.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from statistics import quantiles
from typing import TYPE_CHECKING, Protocol

from tests.benchmarks.agents import Profile
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.peers.pykka import PykkaProfile, Rows
from tests.benchmarks.together import in_tasks, in_threads, straight
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.benchmarks.together import Sharing


CALLERS = 64
AGENTS = 4_000
PEERS_AGENTS = 64  # each takes a while

Times = list[float]


class Half(Protocol):
    """Has all callers call so many agents once."""

    __name__: str

    def __call__(self, url: str, n: int, method: Callable[[Profile], int], times: Times, /) -> None:
        """Do so."""


def torpor(lab: Lab) -> Figures:
    """Ask twice."""

    def by_threads(url: str, n: int, method: Callable[[Profile], int], times: Times) -> None:
        with Runtime(url, max_live=CALLERS) as runtime:

            def call(_: int, i: int) -> None:
                begin = time.perf_counter()
                runtime.get(Profile, f"{n} {i}").ask(method)
                times.append(time.perf_counter() - begin)

            in_threads(CALLERS, n, call)

    def by_tasks(url: str, n: int, method: Callable[[Profile], int], times: Times) -> None:
        async def run() -> None:
            async with Runtime(url, max_live=CALLERS) as runtime:

                async def call(_: int, i: int) -> None:
                    begin = time.perf_counter()
                    await runtime.get(Profile, f"{n} {i}").submit(method)
                    times.append(time.perf_counter() - begin)

                await in_tasks(CALLERS, n, call)

        asyncio.run(run())

    def cycles(half: Half) -> Callable[[int, Times], None]:
        def work(n: int, times: Times) -> None:
            url = f"sqlite:///{lab.folder}/{half.__name__}.db"
            half(url, n, Profile.add, times)
            half(url, n, Profile.read, times)

        return work

    count = lab.count(AGENTS)
    return {
        **_figures("64 threads", count, cycles(by_threads)),
        **_figures("64 tasks", count, cycles(by_tasks)),
    }


def pykka(lab: Lab) -> Figures:
    """Start, ask and stop, twice."""

    def half(share: Sharing, n: int, message: str, times: Times) -> None:
        rows = Rows(lab.folder / f"{share.__name__}.db")

        def call(_: int, i: int) -> None:
            begin = time.perf_counter()
            actor = PykkaProfile.start(rows, f"{n} {i}")
            actor.ask(message)
            actor.stop()
            times.append(time.perf_counter() - begin)

        share(CALLERS, n, call)
        rows.close()

    def cycles(share: Sharing) -> Callable[[int, Times], None]:
        def work(n: int, times: Times) -> None:
            half(share, n, "add", times)
            half(share, n, "read", times)

        return work

    count = lab.count(PEERS_AGENTS)
    return {
        **_figures("64 threads", count, cycles(in_threads)),
        **_figures("64 tasks", count, cycles(straight)),
    }


def _figures(callers: str, count: int, work: Callable[[int, Times], None]) -> Figures:
    times: Times = []
    with _computing():
        work(count // 4, [])  # to warm up
        begin = time.perf_counter()
        work(count, times)
        took = time.perf_counter() - begin
    return {callers: count / took, f"p99, {callers}": quantiles(times, n=100)[98] * 1000}


@contextmanager
def _computing() -> Generator[None]:
    """Have a thread compute while the block runs."""
    stopped = False

    def compute() -> None:
        n = 0
        while not stopped:
            n += 1

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        stopped = True
        thread.join()


CASE = Case(
    name="busy",
    rows="P8",
    title="the whole cycle beside a thread that computes",
    figures={
        "64 threads": Unit.PER_SECOND,
        "p99, 64 threads": Unit.MILLISECONDS,
        "64 tasks": Unit.PER_SECOND,
        "p99, 64 tasks": Unit.MILLISECONDS,
    },
    contenders={TORPOR: torpor, "pykka + SQLite": pykka},
    bars=[
        Bar(figure="64 threads", peer="pykka + SQLite", at_least=50),
        Bar(figure="p99, 64 threads", at_most=300),
        Bar(figure="64 tasks", peer="pykka + SQLite", at_least=50),
        Bar(figure="p99, 64 tasks", at_most=300),
    ],
)
