"""Global settings: how thoroughly hypothesis searches, and that CI skips nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

IN_CI = bool(os.environ.get("CI"))

# No deadlines, and no complaint about slow generation: machines that run tests are busy.
_patient = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _patient, max_examples=50)
settings.register_profile("ci", _patient, max_examples=100, derandomize=True, database=None)
settings.register_profile("full", _patient, max_examples=1000, stateful_step_count=100)
settings.load_profile("ci" if IN_CI else "dev")


def pytest_report_header() -> str:
    """Name the search profile, so that a log tells how a failure can be had again."""
    return f"hypothesis profile: {settings.get_current_profile_name()}"


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped in CI: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skipped test a failure in CI."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Make a skipped module a failure in CI."""
    report = yield
    _fail_if_skipped(report)
    return report
