"""The figures of the storages can be had again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks import storages

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_figures_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each backend and for each length, each with a ratio to the shortest."""
    monkeypatch.setattr(storages, "CALLS", 3)
    places = ["--backends", "sqlite", "--folder", str(tmp_path)]

    storages.main(["latency", *places])
    storages.main(["history", "1500", "10", *places])

    latency, short, long = capsys.readouterr().out.splitlines()
    assert "commit" in latency
    assert short.split()[1] == "10"
    assert "(1.00x)" in short
    assert long.split()[1] == "1,500"
