"""The live display of the flights demo: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

if TYPE_CHECKING:
    from types import TracebackType

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

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        """Show how things stand now."""


def display_on(console: Console, total: int, seconds: float) -> Display:
    """Return the display that suits the console: a bar, or a line every few ``seconds``."""
    return _Bar(console, total) if console.is_terminal else _Lines(console, total, seconds)


class _Figures:
    """Words for a snapshot; the rate is that of the last snapshots."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int]] = deque(maxlen=20)

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

    def __init__(self, console: Console, total: int) -> None:
        self._figures = _Figures()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            auto_refresh=False,
            expand=True,
        )
        self._task = self._progress.add_task("", total=total, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, snapshot: Snapshot) -> None:
        self._progress.update(
            self._task,
            completed=snapshot.played,
            description=snapshot.day,
            figures=self._figures.of(snapshot),
            refresh=True,
        )


class _Lines:
    def __init__(self, console: Console, total: int, interval: float) -> None:
        self.interval = interval
        self._console = console
        self._total = total
        self._figures = _Figures()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        share = snapshot.played / self._total
        place = f"{snapshot.day} {share:4.0%} · flight {snapshot.played:,}"
        self._console.print(f"{place} · {self._figures.of(snapshot)}", soft_wrap=True)
