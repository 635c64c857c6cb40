"""The benchmarks do their work, and one command runs them."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import runner
from tests.benchmarks.__main__ import main
from tests.benchmarks.case import TORPOR, Case, Lab
from tests.benchmarks.effort import Effort
from tests.benchmarks.registry import CASES
from torpor.storage import open_storage

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = {"payload": 1}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_torpor_does_the_work_of_each_case(case: Case, tmp_path: Path) -> None:
    """Torpor's side of each case runs and measures each of the figures."""
    figures = case.contenders[TORPOR](Lab(folder=tmp_path, scale=0.001))

    assert figures.keys() == case.figures.keys()


def test_bars_are_about_what_is_measured() -> None:
    """Each bar names a figure and at most one other side of its case, and one limit."""
    for case in CASES.values():
        for bar in case.bars:
            assert bar.figure in case.figures
            assert bar.peer is None or bar.peer in case.contenders
            assert bar.than is None or bar.than in case.figures
            assert bar.peer is None or bar.than is None
            assert (bar.at_least is None) != (bar.at_most is None)


def test_every_goal_has_a_case_with_a_bar() -> None:
    """P1 to P13, in that order."""
    assert [case.rows for case in CASES.values()] == [f"P{number}" for number in range(1, 14)]
    assert all(case.bars for case in CASES.values())


def test_effort_tells_of_each_row_and_byte(tmp_path: Path) -> None:
    """One entry more to read or to write is another effort; the same again is the same."""
    with open_storage(f"sqlite:///{tmp_path}/store.db") as storage:
        storage.append_thread("log", [ENTRY] * 3)

        def read(count: int) -> Effort:
            return Effort.of(storage, lambda: storage.read_entries("log", 0, count))

        def write(count: int) -> Effort:
            return Effort.of(storage, lambda: storage.append_thread("log", [ENTRY] * count))

        assert read(1).same_as(read(1))
        assert not read(2).same_as(read(1))
        assert write(1).same_as(write(1))
        assert (write(1).rows_written, write(2).rows_written) == (2, 3)


def test_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A case can be run alone: table on stdout, each run's time on stderr, figures as JSON."""
    main(["hot_agent", "--runs", "2", "--scale", "0.001", "--folder", str(tmp_path)])

    printed = capsys.readouterr()
    assert "hot_agent (P6)" in printed.out
    assert "hot_agent: torpor, run 2 of 2: " in printed.err
    [runs] = json.loads((tmp_path / "bench.json").read_text())["cases"]["hot_agent"][
        "runs"
    ].values()
    assert len(runs) == 2
    assert not (tmp_path / "chart.png").exists()


def test_command_without_a_case_writes_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All cases run; figures, chart and table are written."""
    pytest.importorskip("matplotlib", reason="comes with the extra bench")
    monkeypatch.setattr(command, "CASES", {"hot_agent": CASES["hot_agent"]})
    monkeypatch.setattr(command, "ROOT", tmp_path)

    main(["--runs", "1", "--scale", "0.001", "--folder", str(tmp_path / "folder")])

    assert "hot_agent" in (tmp_path / "bench.json").read_text()
    assert "| P6 |" in (tmp_path / "folder" / "table.md").read_text()
    assert (tmp_path / "folder" / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_a_contender_that_fails_costs_nothing_but_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others' figures are written; the command says who failed, and ends with an error."""
    naps = CASES["naps"]

    def fail(name: str, contender: str, folder: Path, scale: float) -> dict[str, float]:
        if contender == "pykka":
            raise OSError(name)
        return naps.contenders[contender](Lab(folder=folder, scale=scale))

    monkeypatch.setattr(runner, "_run_alone", fail)
    monkeypatch.setitem(CASES, "naps", replace(naps, runs=2))

    with pytest.raises(SystemExit, match="failed: naps: pykka"):
        main(["naps", "--scale", "0.001", "--folder", str(tmp_path)])

    assert "OSError: naps" in capsys.readouterr().err
    written = json.loads((tmp_path / "bench.json").read_text())["cases"]["naps"]["runs"]
    assert {contender: len(runs) for contender, runs in written.items()} == {TORPOR: 2}


def test_a_contender_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process does not outlive its time; the run fails like any other."""
    monkeypatch.setattr(runner, "_LONGEST_RUN", 0.01)
    told: list[str] = []

    results = runner.run(CASES["memory"], runs=1, scale=1.0, folder=tmp_path, progress=told.append)

    assert results == {}
    assert "TimeoutError" in "".join(told)
    assert multiprocessing.active_children() == []


def test_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A case that does not exist is an error that names it."""
    with pytest.raises(SystemExit):
        main(["nonsense"])

    assert "no case 'nonsense'" in capsys.readouterr().err
