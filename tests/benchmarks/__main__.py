"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.chart import draw
from tests.benchmarks.registry import CASES
from tests.benchmarks.report import as_json, as_text, ratios_of
from tests.benchmarks.runner import run
from tests.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.case import Case
    from tests.benchmarks.runner import Results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases, print the tables, write the JSON file."""
    options = _parse(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    measured: list[tuple[Case, Results]] = []
    for case in options.cases or CASES.values():
        results = run(
            case,
            runs=options.runs or case.runs,
            scale=options.scale,
            folder=options.folder,
            progress=lambda text: print(text, file=sys.stderr),
        )
        measured.append((case, results))
    options.json.write_text(json.dumps(as_json(measured), indent=1) + "\n")
    print(as_text(measured))
    if options.chart is not None:
        draw([ratio for pair in measured for ratio in ratios_of(*pair)], options.chart)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Torpor beside its peers. Cases: " + ", ".join(CASES),
    )
    parser.add_argument("cases", nargs="*", type=_case, metavar="CASE", help="default: all")
    parser.add_argument("--runs", type=int, help="of each contender; default: the case's own")
    parser.add_argument("--scale", type=float, default=1, help="0.1: a tenth of time and agents")
    parser.add_argument("--json", type=Path, default=ROOT / "bench.json", help="where to write")
    parser.add_argument("--chart", type=Path, help="a PNG to draw of the ratios; default: none")
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
