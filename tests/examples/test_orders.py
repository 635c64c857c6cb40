"""The orders, as a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.examples.support import run_example

if TYPE_CHECKING:
    from pathlib import Path


def test_orders_are_placed_once_however_often_it_runs(tmp_path: Path) -> None:
    """Five lamps are enough for two orders of two; a second run changes nothing."""
    runs = [run_example("orders.py", cwd=tmp_path) for _ in range(2)]

    assert [code for code, _ in runs] == [0, 0], runs
    first, second = (output.splitlines() for _, output in runs)
    assert sorted(line.split(" is ")[1] for line in first) == ["confirmed"] * 2 + ["sold out"]
    assert first == second
