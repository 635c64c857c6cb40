"""The benchmarks do their work, and say what they found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.case import TORPOR, Bar, Case, Lab, Unit
from tests.benchmarks.chart import draw
from tests.benchmarks.registry import CASES
from tests.benchmarks.report import as_text, ratios_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_torpor_does_the_work_of_each_case(case: Case, tmp_path: Path) -> None:
    """Torpor's side of each case runs and measures each of the figures."""
    figures = case.contenders[TORPOR](Lab(folder=tmp_path, scale=0.001))

    assert figures.keys() == case.figures.keys()


def test_bars_are_about_what_is_measured() -> None:
    """Each bar names a figure and, if any, a peer of its case, and one limit."""
    for case in CASES.values():
        for bar in case.bars:
            assert bar.figure in case.figures
            assert bar.peer is None or bar.peer in case.contenders
            assert (bar.at_least is None) != (bar.at_most is None)


def test_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A case can be run alone; its table is printed and its figures are written as JSON."""
    file = tmp_path / "bench.json"

    places = ["--json", str(file), "--folder", str(tmp_path / "folder")]
    main(["hot_agent", "--runs", "2", "--scale", "0.001", *places])

    assert "hot_agent (P6)" in capsys.readouterr().out
    [runs] = json.loads(file.read_text())["cases"]["hot_agent"]["runs"].values()
    assert len(runs) == 2


def test_chart_shows_the_ratios(tmp_path: Path) -> None:
    """With the extra ``bench`` the ratios are drawn as a PNG."""
    pytest.importorskip("matplotlib", reason="comes with the extra bench")
    draw(list(ratios_of(CASE, RESULTS)), tmp_path / "chart.png")

    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A case that does not exist is an error that names it."""
    with pytest.raises(SystemExit):
        main(["nonsense"])

    assert "no case 'nonsense'" in capsys.readouterr().err


def _unmeasured(_: Lab) -> dict[str, float]:
    return {}


CASE = Case(
    name="made up",
    rows="P0",
    title="nothing",
    figures={"rate": Unit.PER_SECOND, "time": Unit.MICROSECONDS, "cost": Unit.MICROSECONDS},
    contenders={TORPOR: _unmeasured, "peer": _unmeasured},
    bars=[
        Bar(figure="rate", peer="peer", at_least=2),
        Bar(figure="cost", peer="peer", at_most=1.5),
        Bar(figure="time", at_most=10),
    ],
)
RESULTS = {
    TORPOR: [{"rate": 60.0, "time": 5.0, "cost": 30.0}, {"rate": 90.0, "time": 15.0, "cost": 20.0}],
    "peer": [
        {"rate": 20.0, "time": 20.0, "cost": 10.0},
        {"rate": 45.0, "time": 30.0, "cost": 10.0},
    ],
}


@pytest.mark.parametrize(
    "line",
    [
        "made up rate peer 2.5x [2 - 3] >= 2x reached",
        "time peer 3x [2 - 4]",
        "cost peer 2.5x [2 - 3] <= 1.5x MISSED",
        "made up (P0) rate torpor 75/s [60 - 90]",
        "time torpor 10 us [5 - 15] <= 10 reached",
    ],
)
def test_table_says_how_many_times_better(line: str) -> None:
    """A ratio says how many times better Torpor is; under a limit, how many times the peer's."""
    text = as_text([(CASE, RESULTS)])

    assert line in [" ".join(found.split()) for found in text.splitlines()]
