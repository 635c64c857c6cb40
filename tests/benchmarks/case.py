"""What a case is: one work, done by several contenders, and the bars that Torpor must reach."""

from __future__ import annotations

import gc
import resource
import time
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

__all__ = ["TORPOR", "Bar", "Case", "Figures", "Lab", "Unit"]

TORPOR = "torpor"
"""The contender that all others of a case are compared with."""

Figures = dict[str, float]
"""What one run of one contender measured: a figure for each name in the case's ``figures``."""


class Unit(Enum):
    """What a figure counts. ``more_is_better`` decides which way a ratio is taken."""

    PER_SECOND = "/s"
    MICROSECONDS = "us"
    MILLISECONDS = "ms"
    SECONDS = "s"
    BYTES = "B"
    MEBIBYTES = "MiB"

    @property
    def more_is_better(self) -> bool:
        """Whether the greater of two figures is the better one."""
        return self is Unit.PER_SECOND

    @property
    def suffix(self) -> str:
        """What stands behind a number."""
        return self.value if self is Unit.PER_SECOND else f" {self.value}"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What Torpor must reach.

    Without a ``peer``, a limit of Torpor's own figure. With a peer, ``at_least`` is how many
    times better Torpor is, and ``at_most`` how many times the peer's figure Torpor's own may be.
    With ``than``, another figure of the same run is what a peer's would be.
    """

    figure: str
    peer: str | None = None
    than: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def limit(self) -> float:
        """The one of both that is given."""
        limit = self.at_least if self.at_most is None else self.at_most
        assert limit is not None
        return limit

    @property
    def is_relative(self) -> bool:
        """Whether it is about a ratio, not about a figure."""
        return self.peer is not None or self.than is not None

    def text(self, unit: str) -> str:
        """Return the limit with its direction and ``unit``."""
        return f"{'<=' if self.at_least is None else '>='} {self.limit:,g}{unit}"

    def met(self, value: float) -> bool:
        """Whether a ratio, or without a peer a figure, reaches the bar."""
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


@dataclass(frozen=True, kw_only=True)
class Lab:
    """Where and how long one contender works. ``scale`` makes everything smaller for a try."""

    folder: Path
    scale: float = 1.0

    def count(self, full: int) -> int:
        """Return a number of agents, ``full`` in a real run."""
        return max(int(full * self.scale), 10)

    def rate(self, work: Callable[[int], object], *, begin_with: int = 16) -> float:
        """Return how often a second ``work`` does what it does ``n`` times when called with n.

        It is called with growing numbers until one call takes a second; only that call counts,
        those before, one at least, have warmed it up.
        """
        work(max(begin_with // 2, 1))
        n = begin_with
        while True:
            begin = time.perf_counter()
            work(n)
            took = time.perf_counter() - begin
            if took >= self.scale:
                return n / took
            n = self._more(n, took)

    async def arate(
        self, work: Callable[[int], Awaitable[object]], *, begin_with: int = 16
    ) -> float:
        """``rate`` of an async function, on the loop that runs."""
        await work(max(begin_with // 2, 1))
        n = begin_with
        while True:
            begin = time.perf_counter()
            await work(n)
            took = time.perf_counter() - begin
            if took >= self.scale:
                return n / took
            n = self._more(n, took)

    def _more(self, n: int, took: float) -> int:
        return min(n * 16, int(n * self.scale / took * 1.2) + 1)

    @staticmethod
    def resident_bytes() -> int:
        """Return how much memory the process has now. Linux only."""
        gc.collect()
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
        return int(pages) * resource.getpagesize()

    def median_microseconds(self, calls: int, work: Callable[[int], object]) -> float:
        """Return the median of how long ``work(i)`` takes for i in ``calls`` … ``2 * calls - 1``.

        It is called with the lower numbers first, to warm up: so many, because a file that
        still grows takes longer to sync than one that is used anew.
        """
        calls = self.count(calls)
        times: list[float] = []
        for i in range(2 * calls):
            begin = time.perf_counter()
            work(i)
            times.append(time.perf_counter() - begin)
        return median(times[calls:]) * 1e6


@dataclass(frozen=True, kw_only=True)
class Case:
    """One work and who does it.

    Each run of a contender is a call of its function in a new process, which returns its
    figures. ``rows`` are the rows of the project's table of speed goals that the case shows.
    """

    name: str
    rows: str
    title: str
    figures: Mapping[str, Unit]
    contenders: Mapping[str, Callable[[Lab], Figures]]
    bars: Sequence[Bar] = field(default=())
    runs: int = 5

    def bar(self, figure: str, peer: str | None = None) -> Bar | None:
        """Return what Torpor must reach in a figure, beside ``peer`` if one is given."""
        for bar in self.bars:
            if (bar.figure, bar.peer, bar.than) == (figure, peer, None):
                return bar
        return None
