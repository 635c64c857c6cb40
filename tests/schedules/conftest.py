"""A store of each kind, and runtimes on it whose time stands still."""

from __future__ import annotations

import pytest

from tests.messages.conftest import all_places, clock, empty_place, memory, runtime, storage, watch
from tests.schedules.kit import Planner

__all__ = ["all_places", "clock", "empty_place", "memory", "runtime", "storage", "watch"]


@pytest.fixture(autouse=True)
def _all_is_well() -> None:
    Planner.broken = False
    Planner.ticks.clear()
