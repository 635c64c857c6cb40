"""``FaultyStorage`` misbehaves at random, as a seed and rates decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from torpor.storage.errors import StorageUnavailableError
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing.kit import put

if TYPE_CHECKING:
    from torpor.storage import Storage
    from torpor.storage.faults import FaultKind


def _behaviour(seed: int, rates: dict[FaultKind, float], calls: int = 200) -> list[str]:
    with MemoryStorage() as inner:
        waits: list[float] = []
        faulty = FaultyStorage.seeded(inner, seed, rates, delay=waits.append, slow_seconds=0.5)
        seen: list[str] = []
        for number in range(calls):
            waits.clear()
            try:
                [outcome] = faulty.commit([put(f"agent {number}", expected_rev=0)])
                seen.append("slow" if waits else type(outcome).__name__)
            except StorageUnavailableError:
                written = inner.get_checkpoint(f"agent {number}") is not None
                seen.append("failed after" if written else "failed before")
        return seen


def test_seed_decides() -> None:
    """The same seed means the same faults, another seed others."""
    rates: dict[FaultKind, float] = {
        "fail": 0.2,
        "fail_after": 0.2,
        "slow": 0.2,
        "torn": 0.1,
        "conflict": 0.1,
    }

    assert _behaviour(1, rates) == _behaviour(1, rates)
    assert _behaviour(1, rates) != _behaviour(2, rates)
    assert set(_behaviour(1, rates)) == {
        "failed after",
        "failed before",
        "slow",
        "Conflict",
        "Saved",
    }


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("fail", {"failed before"}),
        ("fail_after", {"failed after"}),
        ("slow", {"slow"}),
        ("torn", {"failed after", "failed before"}),
        ("conflict", {"Conflict"}),
    ],
)
def test_rate_of_one_is_always(kind: FaultKind, seen: set[str]) -> None:
    """A kind of fault at rate 1 befalls every commit, at rate 0 none."""
    assert set(_behaviour(3, {kind: 1.0})) == seen
    assert set(_behaviour(3, {kind: 0.0})) == {"Saved"}


def test_reads_are_neither_torn_nor_in_conflict(inner: Storage) -> None:
    """Faults of commits leave other operations alone."""
    faulty = FaultyStorage.seeded(inner, 1, {"torn": 0.5, "conflict": 0.5})

    assert [faulty.get_checkpoint("agent") for _ in range(20)] == [None] * 20


@pytest.mark.parametrize("rates", [{"fail": 1.1}, {"fail": 0.6, "slow": 0.6}, {"fail": -0.1}])
def test_impossible_rates_are_refused(inner: Storage, rates: dict[FaultKind, float]) -> None:
    """Rates are probabilities that add up to at most 1."""
    with pytest.raises(ValueError, match="rates"):
        FaultyStorage.seeded(inner, 1, rates)
