"""The clerk that asks before it pays, each command a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.examples.support import run_example

if TYPE_CHECKING:
    from pathlib import Path


def clerk(folder: Path, *arguments: str) -> list[str]:
    """Run a command; return what it printed."""
    code, output = run_example("approvals.py", *arguments, cwd=folder)
    assert code == 0, output
    return output.splitlines()


def waiting(folder: Path) -> str:
    """Ask for a refund; return the id of what waits."""
    paused, line = clerk(folder, "say", "please refund order 7")
    assert paused == "Execution paused: Tool 'refund' requires human approval"
    place, call_id, *call = line.split(" ", 2)
    assert (place, call) == ("desk:", ["refund {'order': 7}"])
    return call_id


def test_an_approval_outlives_the_process(tmp_path: Path) -> None:
    """What was asked in one process is approved in another, and then done, once (HI-5)."""
    call_id = waiting(tmp_path)

    assert clerk(tmp_path, "inbox") == [f"desk: {call_id} refund {{'order': 7}}"]
    assert clerk(tmp_path, "accept", call_id, "--by", "ada") == ["Order 7 is paid back."]
    assert clerk(tmp_path, "inbox") == []


def test_a_refused_refund_is_not_paid(tmp_path: Path) -> None:
    """Nothing else is said before the decision; what was rejected stays rejected (W-25)."""
    call_id = waiting(tmp_path)

    assert clerk(tmp_path, "say", "hello")[0].endswith(f"decide first about {call_id}")
    rejected = clerk(tmp_path, "reject", call_id)
    assert rejected == ["Tool execution rejected by human reviewer."]
    [error] = clerk(tmp_path, "accept", call_id, "--by", "eve")
    assert error.endswith("already decided: reject by somebody")
