"""The settings of the test run do what they are there for."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.project import ROOT, run

if TYPE_CHECKING:
    from pathlib import Path

SKIPS = {
    "mark": "import pytest\n\n@pytest.mark.skip(reason='no server')\ndef test(): pass\n",
    "call": "import pytest\n\ndef test(): pytest.skip('no server')\n",
    "module": "import pytest\n\npytest.importorskip('no_such_driver')\ndef test(): pass\n",
}


def pytest_run(folder: Path, test: str, *, ci: str | None) -> tuple[int, str]:
    """Run one test file under the project's settings; return exit code and output."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "1", "-rA"]
    done = run(command, cwd=folder, env={"CI": ci, "PYTEST_ADDOPTS": None})
    return done.returncode, done.stdout


@pytest.mark.parametrize("test", SKIPS.values(), ids=SKIPS)
def test_ci_skips_nothing(tmp_path: Path, test: str) -> None:
    """In CI a skip of any kind is a failure that tells the reason for skipping."""
    code, output = pytest_run(tmp_path, test, ci="true")
    assert code == 1
    assert "nothing may be skipped in CI" in output
    assert "no server" in output or "no_such_driver" in output


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    """Outside CI a test may be skipped."""
    code, output = pytest_run(tmp_path, SKIPS["call"], ci=None)
    assert (code, "1 skipped" in output) == (0, True)


def test_known_failure_is_no_skip(tmp_path: Path) -> None:
    """A test that is expected to fail, and does, is no skip."""
    test = "import pytest\n\n@pytest.mark.xfail\ndef test(): assert False\n"
    code, output = pytest_run(tmp_path, test, ci="true")
    assert (code, "1 xfailed" in output) == (0, True)


@pytest.mark.parametrize(("ci", "profile"), [(None, "dev"), ("true", "ci")])
def test_search_profile_is_named(tmp_path: Path, ci: str | None, profile: str) -> None:
    """The header of a run names the search profile; CI searches the same way every time."""
    code, output = pytest_run(tmp_path, "def test(): pass\n", ci=ci)
    assert code == 0
    assert f"hypothesis profile: {profile}\n" in output
