"""The checkers see every folder: a planted error in each makes each of them fail.

Set-ups that pass while they look at nothing are easy to make here: one that follows the
editable installation takes ``torpor`` for a package without types, or does not find it at all.
"""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.project import FOLDERS, ROOT, pyproject, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.checkers, pytest.mark.timeout(300)]

PLANTED = {
    "runtime/__init__.py": "from torpor.planted import TEXT as TEXT\n",
    "storage/__init__.py": "",
    "storage/planted.py": """
from torpor import __doc__ as _about
from torpor import planted

def number() -> int:
    return planted.TEXT  # wrong: it is text
""",
    "runtime/planted.py": """
import pytest
from torpor.storage.planted import number

TEXT: str = number()  # wrong: it is a number
""",
    "tests/planted.py": """
def untyped(value):  # wrong, if strict
    return value

spared_by_mypy: int = "x"  # type: ignore[assignment]
spared_by_pyright: int = "x"  # pyright: ignore[reportAssignmentType]
needless_for_mypy: int = 1  # type: ignore[assignment]
needless_for_pyright: int = 1  # pyright: ignore[reportAssignmentType]
""",
    "examples/sibling.py": "WORD: str = 'word'\n",
    "examples/planted.py": """
from sibling import WORD
from torpor.storage.planted import number

TOTAL: int = number() + len(WORD)
MIXED: str = number()  # wrong: it is a number
""",
}


def complaint(target: str, folder: Path) -> str:
    """Return what ``make target`` complains of, in a project with the planted errors."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name, text in PLANTED.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'"""Planted."""\n{text}')
    command = ["make", f"VENV={sys.prefix}", f"--assume-old={sys.prefix}/.installed-all", target]
    inherited = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    done = run(command, cwd=folder, env=dict.fromkeys(inherited))
    assert done.returncode != 0, f"make {target} sees nothing wrong:\n{done.stdout}"
    return done.stdout


def places(output: str) -> set[tuple[str, int]]:
    """Return the file and line of every error in a type checker's output."""
    found = re.findall(
        r"^(?: .*/typecheck/)?([\w/]+\.py):(\d+):(?:\d+ -)? error", output, re.MULTILINE
    )
    return {(file, int(line)) for file, line in found}


def test_mypy_sees_every_folder(tmp_path: Path) -> None:
    """Mypy, strictly, follows types across the folders and finds the error in each."""
    assert places(complaint("mypy", tmp_path)) == {
        ("torpor/planted.py", 6),
        ("torpor/storage/planted.py", 7),
        ("tests/planted.py", 3),
        ("tests/planted.py", 7),
        ("tests/planted.py", 8),
        ("examples/planted.py", 7),
    }


def test_pyright_sees_every_folder(tmp_path: Path) -> None:
    """Pyright, strictly, follows types across the folders and finds the error in each."""
    assert places(complaint("pyright", tmp_path)) == {
        ("torpor/planted.py", 3),  # strict also about imports that nothing uses
        ("torpor/planted.py", 6),
        ("torpor/storage/planted.py", 3),
        ("torpor/storage/planted.py", 7),
        ("tests/planted.py", 3),
        ("tests/planted.py", 4),
        ("tests/planted.py", 6),
        ("tests/planted.py", 9),
        ("examples/planted.py", 7),
    }


def test_layers_see_every_folder(tmp_path: Path) -> None:
    """Each import that is forbidden is found, in both folders of the product."""
    for folder in FOLDERS.values():
        shutil.copytree(folder, tmp_path / folder.name)  # contracts name modules that must exist
    output = complaint("layers", tmp_path)
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    forbidden = [contract["name"] for contract in contracts if contract["type"] == "forbidden"]
    assert len(forbidden) >= 3
    for name in forbidden:
        assert f"{name} BROKEN" in output
