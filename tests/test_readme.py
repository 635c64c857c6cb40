"""The README tells the truth: its programs run, and its commands exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.project import ROOT
from tests.readme import blocks, make_targets, run_blocks

if TYPE_CHECKING:
    from pathlib import Path

README = ROOT / "README.md"


def page(folder: Path, text: str) -> Path:
    """Return a page with ``text``."""
    path = folder / "page.md"
    path.write_text(text, "utf-8")
    return path


def test_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python block of the README runs, in order, and prints what it is said to print."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORPOR_HOME", str(tmp_path))
    text = README.read_text("utf-8")
    found = [block for block in blocks(text) if block.language == "python"]
    assert len(found) == text.count("```python")
    assert run_blocks(README) == sum(block.runs for block in found)


def test_readme_names_existing_targets() -> None:
    """Every ``make`` command of the README has its target in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert make_targets(README.read_text("utf-8")) <= targets


def test_blocks_share_names_and_may_await(tmp_path: Path) -> None:
    """A block sees the names of the one before it, and may use await outside a function."""
    text = (
        "```python\nimport asyncio\nx = 20\n```\nand then\n```python\n"
        "await asyncio.sleep(0)\nprint(x + 1)\n```\n\n```text\n21\n```\n"
    )
    assert run_blocks(page(tmp_path, text)) == 2


def test_block_is_a_program(tmp_path: Path) -> None:
    """A block is run as a script is, so that what stands under its main guard is run too."""
    with pytest.raises(KeyError):
        run_blocks(page(tmp_path, '```python\nif __name__ == "__main__":\n    {}[1]\n```\n'))


def test_failing_block_fails_on_its_line(tmp_path: Path) -> None:
    """An error in a block is raised, and its traceback names the line of the page."""
    path = page(tmp_path, "# Title\n\n```python\nx = 1\nx / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        run_blocks(path)
    last = caught.traceback[-1]
    assert (last.path, last.lineno + 1) == (path, 5)


def test_other_output_than_shown_fails(tmp_path: Path) -> None:
    """A block that prints other than the text block behind it shows is an error."""
    with pytest.raises(AssertionError, match="printed\n2\nbut the page shows\n3\n"):
        run_blocks(page(tmp_path, "```python\nprint(2)\n```\n\n```text\n3\n```\n"))


def test_marked_block_is_not_run_but_needs_a_reason(tmp_path: Path) -> None:
    """A block is left out only if the comment before it says why."""
    block = "```python\nraise RuntimeError\n```\n"
    assert run_blocks(page(tmp_path, f"<!-- not run: needs a server -->\n{block}")) == 0
    with pytest.raises(RuntimeError):
        run_blocks(page(tmp_path, f"<!-- not run: -->\n{block}"))


def test_make_targets_are_found() -> None:
    """Targets are what follows make, without variables and remarks."""
    text = "```sh\nmake demo\nmake lint types ARGS='-k x'  # quick\ncd make\n```\n`make no-block`"
    assert make_targets(text) == {"demo", "lint", "types"}
