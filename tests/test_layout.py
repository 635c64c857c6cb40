"""The shape of the repository: few things at the top, no logic in ``__init__.py``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.project import FOLDERS, ROOT, pyproject, run

TOP = {
    *("runtime", "storage", "tests", "examples"),
    *("README.md", "CHANGELOG.md", "LICENSE", "Makefile", "pyproject.toml"),
}

INITS = [path for folder in FOLDERS.values() for path in folder.rglob("__init__.py")]


def test_top_of_the_repository() -> None:
    """Beside the folders of the product stand only what every reader expects and dot-files."""
    if not (ROOT / ".git").exists():
        pytest.skip("only version control tells what is part of the repository")
    listed = run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT)
    assert listed.returncode == 0, listed.stdout
    found = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in found if not name.startswith(".")} == TOP


@pytest.mark.parametrize("init", INITS, ids=lambda path: str(Path(path).relative_to(ROOT)))
def test_init_holds_only_imports_and_a_sorted_all(init: Path) -> None:
    """A package's ``__init__.py`` is a docstring, imports, and ``__all__`` in order."""
    _docstring, *statements = ast.parse(init.read_text("utf-8")).body
    others = [node for node in statements if not isinstance(node, ast.Import | ast.ImportFrom)]
    for node in others:
        assert isinstance(node, ast.Assign), ast.unparse(node)
        assert ast.unparse(node.targets[0]) == "__all__"
        names = ast.literal_eval(node.value)
        assert names == sorted(names)
    assert len(others) <= 1


def test_changelog_has_a_place_for_the_next_release() -> None:
    """The changelog begins with the unreleased changes, then releases, newest first."""
    headings = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert headings[0] == "Unreleased"
    releases = [tuple(map(int, heading.split("."))) for heading in headings[1:]]
    assert releases == sorted(releases, reverse=True)
    version = tuple(map(int, pyproject()["project"]["version"].split(".")))
    assert all(release <= version for release in releases)
