"""A few short chaos runs; `make chaos MINUTES=30` goes on."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.chaos.places import PLACES
from tests.chaos.run import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("place", PLACES)
def test_what_was_acknowledged_stays(tmp_path: Path, place: str, seed: int) -> None:
    """Kills, zombies, full disks, restarts, jumping clocks: nothing is lost, doubled or moved."""
    with closing(PLACES[place](tmp_path)) as somewhere:
        totals = run(seed, somewhere, deeds=5)

    assert totals.kept >= totals.acknowledged > 0
    assert totals.deeds.total() == 5
