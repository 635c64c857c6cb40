"""A few short chaos runs; `make chaos MINUTES=30` goes on."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.chaos.places import PLACES
from tests.chaos.run import run

if TYPE_CHECKING:
    from pathlib import Path

EVERY_KIND = 248
"""A seed that begins with a kill, a freeze, faults and, by place, a full disk or restarts."""

longer = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("seed", "deeds"),
    [(EVERY_KIND, 5), *(pytest.param(seed, 20, marks=longer) for seed in (1, 2))],
)
@pytest.mark.parametrize("place", PLACES)
def test_what_was_acknowledged_stays(tmp_path: Path, place: str, seed: int, deeds: int) -> None:
    """Kills, zombies, faults, clocks: nothing is lost, doubled or moved (HC-6, HC-19, HC-27)."""
    with closing(PLACES[place](tmp_path)) as somewhere:
        totals = run(seed, somewhere, deeds=deeds)

    assert totals.kept >= totals.acknowledged > 0
    assert totals.deeds.total() == deeds
    assert totals.faults.total() > 0
