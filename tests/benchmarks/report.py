"""What all cases have shown, as text, Markdown, JSON and a chart.

::

    python -m tests.benchmarks.report bench.json --chart chart.png --markdown table.md

makes the tables and the chart from what ``make bench`` has written. Bars are those of today.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.benchmarks.chart import draw
from tests.benchmarks.outcome import figures_of, ratios_of
from tests.benchmarks.registry import CASES
from tests.benchmarks.tables import as_markdown, as_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.benchmarks.case import Case
    from tests.benchmarks.outcome import Row
    from tests.benchmarks.runner import Results

__all__ = ["Report"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The figures of every run of every case. ``scale`` is 1 unless it was only a try."""

    machine: Mapping[str, str]
    date: str
    scale: float
    minutes: float
    measured: Sequence[tuple[Case, Results]]

    @property
    def ratios(self) -> list[Row]:
        """The ratios of all cases."""
        return [row for case, results in self.measured for row in ratios_of(case, results)]

    @property
    def figures(self) -> list[Row]:
        """The figures of all cases."""
        return [row for case, results in self.measured for row in figures_of(case, results)]

    @property
    def place(self) -> str:
        """Where and when it was measured, in a line."""
        found = self.machine
        parts = [
            f"{found['cpu']}, {found['memory']}",
            found["system"],
            found["python"],
            f"SQLite {found['sqlite']}",
            self.date,
        ]
        if self.scale != 1:
            parts.append(f"A TRY AT {self.scale:g} OF THE SIZE")
        return ", ".join(parts)

    def text(self) -> str:
        """Return both tables for a terminal."""
        versions = "  ".join(f"{name} {value}" for name, value in self.machine.items())
        took = f"{self.date}, {self.minutes:.0f} minutes, scale {self.scale:g}"
        return as_text(f"{versions}\n{took}", self.ratios, self.figures)

    def markdown(self) -> str:
        """Return both tables for a README."""
        return as_markdown(self.place, self.ratios, self.figures)

    def draw(self, path: Path) -> None:
        """Write the chart; needs matplotlib, of the extra ``bench``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(self.ratios, self.figures, path, footer=self.place)

    def save(self, path: Path) -> None:
        """Write the figures of every run as JSON, for other programs and for ``load``."""
        cases = {
            case.name: {
                "rows": case.rows,
                "title": case.title,
                "units": {name: unit.value for name, unit in case.figures.items()},
                "runs": results,
            }
            for case, results in self.measured
        }
        about: dict[str, Any] = {
            "machine": dict(self.machine),
            "date": self.date,
            "scale": self.scale,
            "minutes": self.minutes,
        }
        path.write_text(json.dumps(about | {"cases": cases}, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path, cases: Mapping[str, Case] = CASES) -> Self:
        """Return what ``save`` has written. Cases that exist no more are left out."""
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        stored = found.pop("cases")
        measured = [(case, stored[name]["runs"]) for name, case in cases.items() if name in stored]
        return cls(measured=measured, **found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of a JSON file; draw and write what else is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.report")
    parser.add_argument("json", type=Path, help="what make bench has written")
    parser.add_argument("--chart", type=Path, help="a PNG to draw")
    parser.add_argument("--markdown", type=Path, help="a file for the tables in Markdown")
    options = parser.parse_args(arguments)
    report = Report.load(options.json)
    print(report.text())
    if options.chart:
        report.draw(options.chart)
    if options.markdown:
        options.markdown.write_text(report.markdown(), "utf-8")


if __name__ == "__main__":
    main()
