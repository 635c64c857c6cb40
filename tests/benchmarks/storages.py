"""What each storage takes for one agent at a time, and whether a long thread makes it more.

::

    python -m tests.benchmarks.storages latency                   # on every backend
    python -m tests.benchmarks.storages history 10 10000 1000000  # SQLite, PostgreSQL, Redis

Medians of one caller. Servers of the tests' own, which force each commit to their disk; what is
local lies under ``--folder``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks.agents import Diary
from tests.places.registry import PLACES
from tests.project import ROOT
from tests.servers.registry import SERVERS
from torpor import Runtime
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

CALLS = 300
DOCUMENT = {"text": "x" * 1000}
AT_ONCE = 1000


@contextmanager
def place(backend: str, folder: Path) -> Generator[str]:
    """Yield the URL of an empty store, on a server of its own if the backend has one."""
    if backend in SERVERS:
        with closing(SERVERS[backend]()) as server:
            yield server.url
    else:
        with tempfile.TemporaryDirectory(dir=folder) as own, closing(PLACES[backend]):
            yield PLACES[backend].empty(Path(own))


def microseconds(work: Callable[[], object]) -> float:
    """Return the median of what ``work`` takes; as many calls before that warm it up."""
    times: list[float] = []
    for _ in range(2 * CALLS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return median(times[CALLS:]) * 1e6


def latency(url: str) -> tuple[float, float]:
    """Return what a durable commit of 1 KB takes, and what reading it does."""
    with open_storage(url) as storage:
        write = microseconds(lambda: storage.put_checkpoint("agent", DOCUMENT))
        return write, microseconds(lambda: storage.get_checkpoint("agent"))


def history(url: str, lengths: Iterable[int]) -> Generator[tuple[int, float, float]]:
    """Yield length, cost of a turn that appends, and of a thaw with answer, for each length."""
    with Runtime(url) as runtime:
        diary = runtime.get(Diary, "diary").options(timeout=300)

        def thaw() -> None:
            diary.hibernate()
            diary.ask(Diary.read)

        for length in sorted(lengths):
            while (missing := length - diary.ask(Diary.read)) > 0:
                diary.ask(Diary.write, min(missing, AT_ONCE))
            yield length, microseconds(lambda: diary.ask(Diary.write, 1)), microseconds(thaw)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.storages")
    parser.add_argument("what", choices=["latency", "history"])
    parser.add_argument("lengths", nargs="*", type=int, default=[10, 10_000])
    parser.add_argument("--backends", nargs="+", choices=PLACES)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.what == "latency":
        for backend in options.backends or PLACES:
            with place(backend, options.folder) as url:
                write, read = latency(url)
            print(f"{backend:18} commit {write:8,.0f} us  read {read:8,.0f} us", flush=True)
        return
    for backend in options.backends or ["sqlite", "postgresql", "redis"]:
        with place(backend, options.folder) as url:
            first: tuple[float, float] | None = None
            for length, append, thaw in history(url, options.lengths):
                first = first or (append, thaw)
                print(
                    f"{backend:12} {length:9,}  append and commit {append:7,.0f} us"
                    f" ({append / first[0]:.2f}x)  hibernate and thaw {thaw:7,.0f} us"
                    f" ({thaw / first[1]:.2f}x)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
