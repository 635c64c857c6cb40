"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.case import TORPOR
from tests.benchmarks.machine import machine
from tests.benchmarks.registry import CASES
from tests.benchmarks.report import Report
from tests.benchmarks.runner import run
from tests.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.case import Case
    from tests.benchmarks.runner import Results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases, print the tables, write the files."""
    options = _parse(arguments)
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    everything = not options.cases
    json = options.json or (ROOT if everything else folder) / "bench.json"
    chart = options.chart or (folder / "chart.png" if everything else None)
    markdown = options.markdown or (folder / "table.md" if everything else None)

    begin = time.perf_counter()
    measured: list[tuple[Case, Results]] = []
    failed: list[str] = []
    report = None
    for case in options.cases or CASES.values():
        runs = options.runs or case.runs
        results = run(case, runs=runs, scale=options.scale, folder=folder, progress=_tell)
        failed += [f"{case.name}: {name}" for name in case.contenders if name not in results]
        if TORPOR in results:
            measured.append((case, results))
        report = Report(
            machine=machine(),
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            scale=options.scale,
            minutes=(time.perf_counter() - begin) / 60,
            measured=measured,
        )
        report.save(json)  # after each case: what was measured stays
    assert report is not None
    print(report.text())
    if markdown:
        markdown.write_text(report.markdown(), "utf-8")
    if chart:
        report.draw(chart)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _tell(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Torpor beside its peers. Cases: " + ", ".join(CASES),
    )
    parser.add_argument("cases", nargs="*", type=_case, metavar="CASE", help="default: all")
    parser.add_argument("--runs", type=int, help="of each contender; default: the case's own")
    parser.add_argument("--scale", type=float, default=1, help="0.1: a tenth of time and agents")
    places = "default: {} if all cases run"
    json = f"{places.format('bench.json')}, else under --folder"
    parser.add_argument("--json", type=Path, help=f"the figures of every run; {json}")
    chart = places.format("build/bench/chart.png")
    parser.add_argument("--chart", type=Path, help=f"a PNG of the table; {chart}")
    table = places.format("build/bench/table.md")
    parser.add_argument("--markdown", type=Path, help=f"the table for a README; {table}")
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "build" / "bench",
        help="for databases, on the disk to be measured",
    )
    return parser.parse_args(arguments)


def _case(name: str) -> Case:
    try:
        return CASES[name]
    except KeyError:
        msg = f"no case {name!r}"
        raise argparse.ArgumentTypeError(msg) from None


if __name__ == "__main__":
    main()
