"""Each behaviour, weakness and hard case that the project set out from has a test naming it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from tests.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

# First and last number of each run; the numbers between them were never given.
DEMANDED = {
    "CP": [(1, 12)],
    "TH": [(1, 8), (20, 33)],
    "PE": [(1, 5), (10, 14), (20, 28), (30, 37)],
    "IM": [(10, 17), (20, 23), (30, 42), (50, 52)],
    "ST": [(1, 6)],
    "EQ": [(1, 12)],
    "AX": [(10, 15)],
    "HI": [(1, 9)],
    "CR": [(2, 12), (15, 19), (24, 24)],
    "W": [(1, 11), (13, 25), (27, 39)],
    "HC": [(1, 35)],
}

_ID = re.compile(rf"\b(?:{'|'.join(DEMANDED)})-\d+\b")


def demanded() -> list[str]:
    """Return every id that must have a test."""
    return [
        f"{letters}-{number}"
        for letters, runs in DEMANDED.items()
        for first, last in runs
        for number in range(first, last + 1)
    ]


def naming_tests() -> dict[str, list[str]]:
    """Return the names of the tests whose docstrings name each id."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for folder in ("tests", "storage/testing"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name, text in docstrings(path.read_text("utf-8")):
                for mentioned in _ID.findall(text):
                    found[mentioned].append(f"{path.relative_to(ROOT)}::{name}")
    return found


def docstrings(source: str) -> Iterator[tuple[str, str]]:
    """Yield name and docstring of every test in ``source``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if node.name.startswith("test_") and text:
                yield node.name, text


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    """Return the tests of each id."""
    return naming_tests()


@pytest.mark.parametrize("behaviour", demanded())
def test_the_behaviour_has_a_test(found: dict[str, list[str]], behaviour: str) -> None:
    """Some test says that it shows this behaviour."""
    assert found.get(behaviour), f"no test's docstring names {behaviour}"


def test_only_docstrings_of_tests_count() -> None:
    """An id in a comment, in code or in another function's docstring shows nothing."""
    source = '''
"""Of W-1."""
def helper():
    """Of W-2."""
def test_it():
    """Shows it (W-3, PE-10)."""
    assert "W-4"  # W-5
class TestThat:
    async def test_that(self):
        """Shows that (rule 4, CP-7)."""
'''
    assert [_ID.findall(text) for _, text in docstrings(source)] == [["W-3", "PE-10"], ["CP-7"]]
