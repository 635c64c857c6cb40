"""What the flights demo ends with: two tables and the comparison with the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console

    from flights_check import Totals

__all__ = ["agreement", "differences", "show_tables"]

ROWS = 10
FAIR_SAMPLE = 100


def show_tables(console: Console, fleet: Mapping[str, Totals]) -> None:
    """Print the busiest aircraft, and those that were latest on average.

    The second table is of aircraft with 100 landings or more, if there are such.
    """
    known = {tail: totals for tail, totals in fleet.items() if tail != "unknown"}
    busiest = sorted(known, key=lambda tail: -known[tail]["flights"])
    _show(console, "The busiest aircraft", ((tail, known[tail]) for tail in busiest[:ROWS]))
    landed = [tail for tail in known if known[tail]["landed"]]
    often = [tail for tail in landed if known[tail]["landed"] >= FAIR_SAMPLE]
    latest = sorted(often or landed, key=lambda tail: -_mean_delay(known[tail]))
    title = "The worst average delays at arrival, in minutes"
    if often:
        title += f"; {FAIR_SAMPLE} landings or more"
    _show(console, title, ((tail, known[tail]) for tail in latest[:ROWS]))


def _show(console: Console, title: str, rows: Iterable[tuple[str, Totals]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.pad_edge = False
    table.add_column("aircraft")
    table.add_column("airline")
    for name in ("flights", "cancelled", "miles", "hours", "delay", "last in"):
        table.add_column(name, justify="right")
    for tail, totals in rows:
        table.add_row(
            tail,
            totals["carrier"],
            f"{totals['flights']:,}",
            f"{totals['cancelled']:,}",
            f"{totals['distance']:,}",
            f"{totals['air_time'] / 60:,.0f}",
            f"{_mean_delay(totals):.1f}",
            totals["airport"],
        )
    console.print(table)


def _mean_delay(totals: Totals) -> float:
    return totals["arrival_delay"] / totals["landed"] if totals["landed"] else 0.0


def differences(fleet: Mapping[str, Totals], file: Mapping[str, Totals]) -> list[str]:
    """Return a line for each aircraft whose own totals are not those of the file."""
    found: list[str] = []
    for tail in sorted(fleet.keys() | file.keys()):
        if tail not in file:
            found.append(f"{tail}: an aircraft that is not in the file")
        elif tail not in fleet:
            found.append(f"{tail}: in the file, but no aircraft")
        else:
            ours, theirs = fleet[tail].items(), file[tail].items()
            found += [
                f"{tail}: {name} is {value!r}, the file says {expected!r}"
                for (name, value), (_, expected) in zip(ours, theirs, strict=True)
                if value != expected
            ]
    return found


def agreement(fleet: Mapping[str, Totals]) -> str:
    """Return the line that says that all totals agree."""
    flights, cancelled, miles, minutes = (
        sum(totals[name] for totals in fleet.values())
        for name in ("flights", "cancelled", "distance", "arrival_delay")
    )
    return (
        f"All {len(fleet):,} agents agree with the file: {flights:,} flights, {cancelled:,}"
        f" cancelled, {miles:,} miles, {minutes:,} minutes of arrival delay."
    )
