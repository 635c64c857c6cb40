"""The reminders, as processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.examples.support import run_example

if TYPE_CHECKING:
    from pathlib import Path


def test_one_process_plans_and_another_reminds(tmp_path: Path) -> None:
    """What was planned is said by whoever runs when it is due, once."""
    said: list[str] = []
    for arguments in (["add", "tea", "1"], ["add", "bread", "1"], ["wait"], ["wait"]):
        code, output = run_example("reminders.py", *arguments, cwd=tmp_path)
        assert code == 0, output
        said += [line.strip() for line in output.splitlines()]
    assert sorted(said) == ["remember: bread", "remember: tea"]
