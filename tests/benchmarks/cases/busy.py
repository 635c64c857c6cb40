"""The whole cycle while another thread of the process computes without pause.

The same work as ``whole_cycle``. ``p99`` is of single calls, of both halves.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from statistics import quantiles
from typing import TYPE_CHECKING

from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.cycles import pykka_cycles, task_cycles, thread_cycles
from tests.benchmarks.together import in_tasks, in_threads, straight, timed, timed_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.benchmarks.together import Sharing


AGENTS = 4_000
PEERS_AGENTS = 64  # each takes a while

Times = list[float]


def torpor(lab: Lab) -> Figures:
    """Ask twice."""
    count = lab.count(AGENTS)

    def by_threads(times: Times) -> Callable[[int], None]:
        return thread_cycles(lab.folder, timed(in_threads, times))

    def by_tasks(times: Times) -> Callable[[int], None]:
        return task_cycles(lab.folder, timed_tasks(in_tasks, times))

    return {**_figures("64 threads", count, by_threads), **_figures("64 tasks", count, by_tasks)}


def pykka(lab: Lab) -> Figures:
    """Start, ask and stop, twice."""
    count = lab.count(PEERS_AGENTS)

    def by(share: Sharing) -> Callable[[Times], Callable[[int], None]]:
        return lambda times: pykka_cycles(lab.folder, timed(share, times))

    return {
        **_figures("64 threads", count, by(in_threads)),
        **_figures("64 tasks", count, by(straight)),
    }


def _figures(callers: str, count: int, cycles: Callable[[Times], Callable[[int], None]]) -> Figures:
    times: Times = []
    with _computing():
        cycles([])(count // 4)  # to warm up
        begin = time.perf_counter()
        cycles(times)(count)
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
