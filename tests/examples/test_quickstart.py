"""The quickstart, as a process of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.examples.support import run_example

if TYPE_CHECKING:
    from pathlib import Path


def counts(output: str) -> list[int]:
    """Return the number at the end of each line."""
    return [int(number) for number in re.findall(r"(\d+)$", output, re.MULTILINE)]


def test_the_second_run_goes_on_counting(tmp_path: Path) -> None:
    """Every way to call is counted once, and the count outlives the process."""
    runs = [run_example("quickstart.py", cwd=tmp_path) for _ in range(2)]

    assert [code for code, _ in runs] == [0, 0], runs
    assert [counts(output) for _, output in runs] == [[3, 4, 5], [8, 9, 10]]


def test_the_store_can_be_named(tmp_path: Path) -> None:
    """Two stores count apart from each other."""
    first = run_example("quickstart.py", "first.db", cwd=tmp_path)
    second = run_example("quickstart.py", tmp_path / "second.db", cwd=tmp_path)

    assert first == second
    assert first[0] == 0, first
