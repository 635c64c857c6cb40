"""The failing feed, as a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.examples.support import run_example

if TYPE_CHECKING:
    from pathlib import Path

PAUSED = (
    "paused after 3 failures, the last one ValueError: "
    "invalid literal for int() with base 10: 'one'"
)


def test_a_failing_agent_is_restarted_paused_and_resumed(tmp_path: Path) -> None:
    """Each step is told, the other agent goes on, and nothing of a failing turn stays."""
    code, output = run_example("supervision.py", cwd=tmp_path)

    assert code == 0, output
    assert output.splitlines() == [
        "feed/bad failed, is thawed again in 0.05 s",
        "good goes on: 1",
        "feed/bad failed, is thawed again in 0.1 s",
        "good goes on: 2",
        "feed/bad failed 3 times, is paused",
        "good goes on: 3",
        f"feed/bad: {PAUSED}",
        "feed/bad is resumed",
        "bad goes on: 3",
    ]
