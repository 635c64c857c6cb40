"""What was measured is told rightly, at once or from the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import report as command
from tests.benchmarks.case import TORPOR, Bar, Case, Unit
from tests.benchmarks.machine import machine
from tests.benchmarks.registry import CASES
from tests.benchmarks.report import Report

if TYPE_CHECKING:
    from pathlib import Path

CASE = Case(
    name="made up",
    rows="P0",
    title="nothing at all",
    figures={
        "rate": Unit.PER_SECOND,
        "time": Unit.MICROSECONDS,
        "cost": Unit.MICROSECONDS,
        "long": Unit.MICROSECONDS,
    },
    contenders={TORPOR: lambda _: {}, "peer": lambda _: {}},
    bars=[
        Bar(figure="rate", peer="peer", at_least=2),
        Bar(figure="cost", peer="peer", at_most=1.5),
        Bar(figure="long", than="time", at_most=4),
        Bar(figure="time", at_most=10),
    ],
)
RESULTS = {
    TORPOR: [
        {"rate": 60.0, "time": 5.0, "cost": 30.0, "long": 20.0},
        {"rate": 90.0, "time": 15.0, "cost": 20.0, "long": 30.0},
    ],
    "peer": [
        {"rate": 20.0, "time": 20.0, "cost": 10.0},
        {"rate": 45.0, "time": 30.0, "cost": 10.0},
    ],
}
REPORT = Report(
    machine=machine(), date="2025-11-21", scale=1.0, minutes=1.0, measured=[(CASE, RESULTS)]
)


@pytest.mark.parametrize(
    "line",
    [
        "made up (P0) rate peer 2.5x [2 - 3] >= 2x reached",
        "time peer 3x [2 - 4]",
        "cost peer 2.5x [2 - 3] <= 1.5x MISSED",
        "long time 3x [2 - 4] <= 4x reached",
        "made up (P0) rate torpor 75/s [60 - 90]",
        "time torpor 10 us [5 - 15] <= 10 us reached",
    ],
)
def test_table_says_how_many_times_better(line: str) -> None:
    """A ratio says how many times better Torpor is; under a limit, how many times the other's."""
    assert line in [" ".join(found.split()) for found in REPORT.text().splitlines()]


@pytest.mark.parametrize(
    "line",
    [
        "| P0 | nothing at all | rate | peer | **2.5x** [2 - 3] | >= 2x | reached |",
        "|  |  | cost | peer | **2.5x** [2 - 3] | <= 1.5x | MISSED |",
        "| P0 | nothing at all | time | **10 us** [5 - 15] | <= 10 us | reached |",
    ],
)
def test_markdown_has_the_ratios_and_the_figures_with_bars(line: str) -> None:
    """In Markdown a case's name stands once; figures without a bar are left out."""
    lines = REPORT.markdown().splitlines()

    assert line in lines
    assert not any("75/s" in found for found in lines)


def test_place_names_the_machine_and_a_try() -> None:
    """What was measured at another size is told so wherever the machine is."""
    tried = Report(machine=REPORT.machine, date="", scale=0.1, minutes=1.0, measured=[])

    assert REPORT.machine["cpu"] in REPORT.markdown()
    assert "TRY" not in REPORT.markdown()
    assert "A TRY AT 0.1 OF THE SIZE" in tried.markdown()


def test_chart_is_drawn(tmp_path: Path) -> None:
    """With the extra ``bench`` the tables are drawn as a PNG."""
    pytest.importorskip("matplotlib", reason="comes with the extra bench")

    REPORT.draw(tmp_path / "folder" / "chart.png")

    assert (tmp_path / "folder" / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_saved_report_says_the_same(tmp_path: Path) -> None:
    """All that was measured comes back from the file."""
    REPORT.save(tmp_path / "bench.json")

    found = Report.load(tmp_path / "bench.json", {CASE.name: CASE})

    assert found == REPORT


def test_command_tells_again_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables and chart are made from the file, without another run; lost figures are no matter."""
    pytest.importorskip("matplotlib", reason="comes with the extra bench")
    case = CASES["naps"]
    results = {TORPOR: [{"all": 0.25, "lost": 1.0}], "pykka": [{"all": 10.0}]}
    measured = [(case, results), (CASE, RESULTS)]
    report = Report(machine=machine(), date="", scale=1.0, minutes=1.0, measured=measured)
    report.save(tmp_path / "bench.json")
    chart, table = tmp_path / "chart.png", tmp_path / "table.md"

    places = ["--chart", str(chart), "--markdown", str(table)]
    command.main([str(tmp_path / "bench.json"), *places])

    assert "naps (P10)" in capsys.readouterr().out
    assert "**40x**" in table.read_text()
    assert chart.read_bytes().startswith(b"\x89PNG")
