"""What the results say: ratios first, absolute figures after."""

from __future__ import annotations

import os
import platform
import sqlite3
from dataclasses import dataclass
from importlib import metadata
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.benchmarks.case import TORPOR, Unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.benchmarks.case import Bar, Case
    from tests.benchmarks.runner import Results

__all__ = ["Ratio", "as_json", "as_text", "machine", "ratios_of"]

_PEERS = (
    "torpor",
    "pykka",
    "pydantic",
    "autogen-core",
    "dbos",
    "eventsourcing",
    "langgraph",
    "langgraph-checkpoint-postgres",
    "langgraph-checkpoint-sqlite",
    "openai-agents",
    "ray",
    "redis",
    "thespian",
    "xoscar",
)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times better Torpor is than a peer in one figure, in each pair of runs.

    Where the bar is a limit (``is_limited``), how many times the peer's figure its own is.
    """

    case: str
    figure: str
    peer: str
    values: Sequence[float]
    bar: Bar | None

    @property
    def median(self) -> float:
        """The median of all pairs."""
        return median(self.values)

    @property
    def is_limited(self) -> bool:
        """Whether less is better."""
        return self.bar is not None and self.bar.at_most is not None


def machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    versions = {name: _version(name) for name in _PEERS}
    return {
        "cpu": f"{os.cpu_count()} x {_cpu()}",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        **{name: version for name, version in versions.items() if version},
    }


def as_text(measured: Sequence[tuple[Case, Results]]) -> str:
    """Return both tables."""
    ratios = [row for case, results in measured for row in _ratio_rows(case, results)]
    figures = [row for case, results in measured for row in _figure_rows(case, results)]
    parts = [
        "  ".join(f"{name} {value}" for name, value in machine().items()),
        "Median [min - max] of all runs. A ratio is of two runs that followed one another.",
    ]
    if ratios:
        head = ("", "figure", "torpor beside", "ratio", "", "bar", "")
        parts.append(_table([head, *ratios]))
    head = ("", "figure", "contender", "median", "", "bar", "")
    parts.append(_table([head, *figures]))
    return "\n\n".join(parts)


def as_json(measured: Sequence[tuple[Case, Results]]) -> dict[str, Any]:
    """Return the figures of every run, for other programs."""
    return {
        "machine": machine(),
        "cases": {
            case.name: {
                "rows": case.rows,
                "title": case.title,
                "units": {name: unit.value for name, unit in case.figures.items()},
                "runs": results,
            }
            for case, results in measured
        },
    }


def ratios_of(case: Case, results: Results) -> Iterable[Ratio]:
    """Yield the ratios of each figure to each peer that has it."""
    for figure, unit in case.figures.items():
        for peer, runs in results.items():
            if peer == TORPOR or figure not in runs[0]:
                continue
            bar = case.bar(figure, peer)
            values = [
                _ratio(mine[figure], theirs[figure], unit, bar)
                for mine, theirs in zip(results[TORPOR], runs, strict=True)
            ]
            yield Ratio(case=case.name, figure=figure, peer=peer, values=values, bar=bar)


def _ratio_rows(case: Case, results: Results) -> Iterable[tuple[str, ...]]:
    for r in ratios_of(case, results):
        yield (r.case, r.figure, r.peer, *_spread(r.values, "x"), *_verdict(r.values, r.bar))


def _ratio(mine: float, theirs: float, unit: Unit, bar: Bar | None) -> float:
    """Return how many times better Torpor is, or how many times the peer's its figure is."""
    limited = bar is not None and bar.at_most is not None
    return mine / theirs if unit.more_is_better or limited else theirs / mine


def _figure_rows(case: Case, results: Results) -> Iterable[tuple[str, ...]]:
    for figure, unit in case.figures.items():
        for contender, runs in results.items():
            if figure not in runs[0]:
                continue
            values = [run[figure] for run in runs]
            bar = case.bar(figure, None) if contender == TORPOR else None
            name = f"{case.name} ({case.rows})"
            yield (name, figure, contender, *_spread(values, unit.value), *_verdict(values, bar))


def _spread(values: Sequence[float], unit: str) -> tuple[str, str]:
    space = "" if unit in {"x", "/s"} else " "
    extent = f"[{_number(min(values))} - {_number(max(values))}]"
    return f"{_number(median(values))}{space}{unit}", extent


def _verdict(values: Sequence[float], bar: Bar | None) -> tuple[str, str]:
    if bar is None:
        return "", ""
    return str(bar), "reached" if bar.met(median(values)) else "MISSED"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Align columns; a case's name stands in its first row only."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    before = ""
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[3] = row[3].rjust(widths[3])
        if row[0] == before:
            cells[0] = " " * widths[0]
        before = row[0]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - not a stored file
            names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
