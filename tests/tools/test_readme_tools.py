"""The README shows what the commands print."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from tests.project import ROOT
from torpor import Agent, Runtime
from torpor.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

VARYING = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ": "<time>",
    r"\d{8}T\d{6}Z": "<stamp>",
    r"\(\d+ bytes\)": "<size>",
    r"bytes    \d+": "<bytes>",
    r"digest [0-9a-f]{16}": "<digest>",
}


def steady(text: str) -> list[str]:
    """Return the lines of an output, with a name for what is never twice the same."""
    for pattern, name in VARYING.items():
        text = re.sub(pattern, name, text)
    return text.splitlines()


def test_shown_output_is_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the section Tools, in order, prints what stands below it."""

    class Counter(Agent):
        count: int = 0

        def add(self, n: int) -> int:
            self.count += n
            self.thread.append("added", {"n": n})
            return self.count

    monkeypatch.chdir(tmp_path)
    with Runtime("sqlite:///counters.db") as runtime:
        for n in (2, 1):
            runtime.get(Counter, "user-123").ask(Counter.add, n)
    section = (ROOT / "README.md").read_text("utf-8").partition("\n## Tools\n")[2]
    block = section.partition("```console\n")[2].partition("```")[0]
    shown = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    assert len(shown) >= 7

    for command, output in shown:
        words = shlex.split(command)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            monkeypatch.setenv(name, value)
            continue
        assert words[0] == "torpor"
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, result.stderr
        assert steady(result.stdout) == steady(output), command
