"""The example of branches, as a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.examples.support import run_example

if TYPE_CHECKING:
    from pathlib import Path


def test_each_branch_has_its_own_end(tmp_path: Path) -> None:
    """Forked, rewound and started from an image, each story is what it says; twice as well."""
    runs = [run_example("branches.py", cwd=tmp_path) for _ in range(2)]

    expected = [
        "night: It was dark. A light went on. It was a thief.",
        "day: It was dark. A light went on. It was the sun.",
        "night: It was dark. (1 line)",
        "again: It was dark. A light went on. It was a thief.",
    ]
    assert [(code, output.splitlines()) for code, output in runs] == [(0, expected)] * 2
