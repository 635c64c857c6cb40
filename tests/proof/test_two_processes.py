"""Two processes that hammer the same agents."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest

from tests.places.registry import SHARED
from tests.processes import PATIENCE, barrier, child
from tests.proof.hammer import KEYS, hammer
from tests.proof.tally import Tally
from torpor import Runtime

PROCESSES = 2

full_size = pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])


@pytest.mark.parametrize("calls", [200, full_size])
@pytest.mark.parametrize("url", SHARED, indirect=True)
def test_two_processes_count_right(url: str, calls: int) -> None:
    """They conflict, and no turn is lost or made twice for all that (rule 13, case 5)."""
    start = barrier(PROCESSES)
    added: Counter[str] = Counter()
    conflicts = 0
    with ExitStack() as children:
        receivers = [
            children.enter_context(child(hammer, url, calls, seed, start))[1]
            for seed in range(PROCESSES)
        ]
        for receiver in receivers:
            assert receiver.poll(calls / 50 + PATIENCE), "a process did not end"
            by_key, met = receiver.recv()
            added += by_key
            conflicts += met

    assert conflicts > 0
    assert added.total() == PROCESSES * calls
    with Runtime(url) as runtime:
        for key in KEYS:
            assert runtime.get(Tally, key).ask(Tally.history) == list(range(1, added[key] + 1))
