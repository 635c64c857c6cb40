"""What is published is what is in the folders, no more and no less."""

from __future__ import annotations

import shutil
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.project import FOLDERS, ROOT, pyproject, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def source_files() -> Iterator[tuple[str, Path]]:
    """Yield every file of the product: where an installation has it, and where it is here."""
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}", path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that nothing of an earlier build gets into it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    for folder in FOLDERS.values():
        shutil.copytree(folder, source / folder.name)
    built = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built)]
    done = run(command, cwd=source)
    assert done.returncode == 0, done.stdout
    (path,) = built.glob("*.whl")
    return path


def test_listed_packages_are_the_folders() -> None:
    """Every folder with an ``__init__.py`` is listed as a package, and nothing else is."""
    folders = {
        name.removesuffix("/__init__.py").replace("/", ".")
        for name, _ in source_files()
        if name.endswith("/__init__.py")
    }
    assert set(pyproject()["tool"]["setuptools"]["packages"]) == folders


def test_wheel_holds_every_file_of_the_folders(wheel: Path) -> None:
    """The wheel holds the files of the folders, under their import names, and no other."""
    expected = {name: path.read_bytes() for name, path in source_files()}
    with zipfile.ZipFile(wheel) as archive:
        found = {
            name: archive.read(name)
            for name in archive.namelist()
            if ".dist-info/" not in name and not name.endswith("/")
        }
    assert found.keys() == expected.keys()
    assert found == expected


def test_wheel_is_typed_and_licensed(wheel: Path) -> None:
    """The wheel tells type checkers to look inside, and carries the licence."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        assert "torpor/py.typed" in names
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
        assert "License-Expression: Apache-2.0" in archive.read(metadata).decode()


def test_all_brings_every_extra() -> None:
    """The extra ``all`` names each of the others."""
    extras = pyproject()["project"]["optional-dependencies"]
    others = ",".join(sorted(extras.keys() - {"all"}))
    assert extras["all"] == [f"torpor[{others}]"]
