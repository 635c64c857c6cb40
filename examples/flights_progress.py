"""The live display of the flights demo: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Display", "Snapshot", "display_on"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where the demo stands: flights played since the year began, and the agents behind them."""

    played: int
    day: str
    awake: int
    asleep: int
    thaws: int
    store_bytes: int


class Display(Protocol):
    """Entered before the first snapshot, left after the last; wants one each ``interval``."""

    interval: float

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        """Show how things stand now."""


def display_on(console: Console, begin: int, end: int, seconds: float) -> Display:
    """Return the display that suits the console: a bar, or a line every few ``seconds``."""
    if console.is_terminal:
        return _Bar(console, begin, end)
    return _Lines(console, begin, end, seconds)


class _Figures:
    """Words for snapshots; the rate is that of the last two seconds or so."""

    def __init__(self, begin: int, interval: float) -> None:
        size = 1 + max(1, round(2 / interval))
        self._recent = deque([(time.monotonic(), begin)], maxlen=size)

    def of(self, snapshot: Snapshot) -> str:
        self._recent.append((time.monotonic(), snapshot.played))
        (since, before), (now, played) = self._recent[0], self._recent[-1]
        rate = (played - before) / (now - since) if now > since else 0.0
        return (
            f"{rate:,.0f} turns/s · {snapshot.awake} awake · {snapshot.asleep:,} hibernated"
            f" · {snapshot.thaws:,} thaws · {snapshot.store_bytes / 1e6:.1f} MB"
        )


class _Bar:
    interval = 0.1

    def __init__(self, console: Console, begin: int, end: int) -> None:
        self._begin = begin
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            console=console,
            expand=True,
        )
        self._task = self._progress.add_task("", total=end, completed=begin)
        self._live = Live(self._progress, console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._figures = _Figures(self._begin, self.interval)
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        self._progress.update(self._task, completed=snapshot.played, description=snapshot.day)
        figures = Text(self._figures.of(snapshot), no_wrap=True)
        self._live.update(Group(self._progress, figures), refresh=True)


class _Lines:
    def __init__(self, console: Console, begin: int, end: int, interval: float) -> None:
        self.interval = interval
        self._console = console
        self._begin = begin
        self._end = end

    def __enter__(self) -> Self:
        self._figures = _Figures(self._begin, self.interval)
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        place = f"{snapshot.day} {snapshot.played / self._end:4.0%} · flight {snapshot.played:,}"
        self._console.print(f"{place} · {self._figures.of(snapshot)}", soft_wrap=True)
