"""The example of the event queue, as a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.examples.support import run_example

if TYPE_CHECKING:
    from pathlib import Path


def test_the_second_run_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    """What the mailer left unread comes first in the next run; nothing twice (EQ-7)."""
    runs = [run_example("events.py", cwd=tmp_path) for _ in range(2)]

    assert [code for code, _ in runs] == [0, 0], runs
    mails = [
        [line for line in output.splitlines() if not line.startswith("  audit")]
        for _, output in runs
    ]
    assert mails == [
        [
            "unread when it starts: 0",
            "mail for order 0",
            "mail for order 1",
            "unread when it ends: 1",
        ],
        [
            "unread when it starts: 1",
            "mail for order 2",
            "mail for order 3",
            "mail for order 4",
            "unread when it ends: 1",
        ],
    ]
