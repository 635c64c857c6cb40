"""The whole cycle while another thread of the process computes without pause.

The same work as ``whole_cycle`` with 64 threads. ``p99`` is of single calls, of both halves.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from statistics import quantiles
from typing import TYPE_CHECKING

from tests.benchmarks.agents import Profile
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.peers.pykka import PykkaProfile, Rows
from tests.benchmarks.together import in_threads
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Timed = Callable[[Callable[[], object]], None]

CALLERS = 64
AGENTS = 4_000
PEERS_AGENTS = 64  # each takes a while


def torpor(lab: Lab) -> Figures:
    """Ask twice."""

    def half(timed: Timed, count: int, method: Callable[[Profile], int]) -> None:
        with Runtime(f"sqlite:///{lab.folder}/store.db", max_live=CALLERS) as runtime:
            in_threads(
                CALLERS, count, lambda _, i: timed(lambda: runtime.get(Profile, f"{i}").ask(method))
            )

    def work(timed: Timed, count: int) -> None:
        half(timed, count, Profile.add)
        half(timed, count, Profile.read)

    return _figures(work, lab.count(AGENTS))


def pykka(lab: Lab) -> Figures:
    """Start, ask and stop, twice."""

    def half(timed: Timed, count: int, message: str) -> None:
        rows = Rows(lab.folder / "rows.db")

        def call(i: int) -> None:
            actor = PykkaProfile.start(rows, f"{i}")
            actor.ask(message)
            actor.stop()

        in_threads(CALLERS, count, lambda _, i: timed(lambda: call(i)))
        rows.close()

    def work(timed: Timed, count: int) -> None:
        half(timed, count, "add")
        half(timed, count, "read")

    return _figures(work, lab.count(PEERS_AGENTS))


def _figures(work: Callable[[Timed, int], None], count: int) -> Figures:
    times: list[float] = []

    def timed(call: Callable[[], object]) -> None:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)

    with _computing():
        begin = time.perf_counter()
        work(timed, count)
        took = time.perf_counter() - begin
    return {"64 threads": count / took, "p99": quantiles(times, n=100)[98] * 1000}


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
    figures={"64 threads": Unit.PER_SECOND, "p99": Unit.MILLISECONDS},
    contenders={TORPOR: torpor, "pykka + SQLite": pykka},
    bars=[
        Bar(figure="64 threads", peer="pykka + SQLite", at_least=50),
        Bar(figure="p99", at_most=300),
    ],
)
