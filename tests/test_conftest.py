"""The settings of the test run do what they are there for."""

from __future__ import annotations

import shutil
import sys

import pytest

from tests.project import ROOT, run

TESTS = {
    "test_mark.py": "@pytest.mark.skip(reason='no server')\ndef test(): pass\n",
    "test_call.py": "def test(): pytest.skip('no server')\n",
    "test_module.py": "pytest.importorskip('no_such_driver')\ndef test(): pass\n",
    "test_known.py": "@pytest.mark.xfail\ndef test(): assert False\n",
}


def output(tmp_path_factory: pytest.TempPathFactory, *, ci: str | None) -> str:
    """Return what pytest prints when it runs the tests above under the project's settings."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    for name, test in TESTS.items():
        (folder / name).write_text(f"import pytest\n\n{test}")
    command = [sys.executable, "-m", "pytest", "-n", "1", "-ra", "--continue-on-collection-errors"]
    return run(command, cwd=folder, env={"CI": ci, "PYTEST_ADDOPTS": None}).stdout


@pytest.fixture(scope="module")
def in_ci(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what pytest prints in CI."""
    return output(tmp_path_factory, ci="true")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what pytest prints on a developer's machine."""
    return output(tmp_path_factory, ci=None)


@pytest.mark.parametrize(
    "complaint",
    [
        "ERROR test_mark.py::test - nothing may be skipped in CI: ",
        "FAILED test_call.py::test - nothing may be skipped in CI: ",
        "ERROR test_module.py - nothing may be skipped in CI: ",
    ],
)
def test_ci_skips_nothing(in_ci: str, complaint: str) -> None:
    """In CI a skip of any kind is a failure."""
    assert complaint in in_ci


def test_reason_for_skipping_is_told(in_ci: str) -> None:
    """The failure says why the test would have been skipped."""
    assert "Skipped: no server" in in_ci
    assert "could not import 'no_such_driver'" in in_ci


def test_known_failure_is_no_skip(in_ci: str) -> None:
    """A test that is expected to fail, and does, is no failure in CI either."""
    assert "= 1 failed, 1 xfailed, 2 errors in " in in_ci


def test_elsewhere_a_skip_is_a_skip(elsewhere: str) -> None:
    """Outside CI a test may be skipped."""
    assert "= 3 skipped, 1 xfailed in " in elsewhere


def test_search_profile_is_named(in_ci: str, elsewhere: str) -> None:
    """The header of a run names the profile of its search: CI has one of its own."""
    assert "hypothesis profile: ci\n" in in_ci
    assert "hypothesis profile: dev\n" in elsewhere
