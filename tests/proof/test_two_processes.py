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

# Emulators of servers are slow, on a busy machine yet more so.
some = pytest.param(100, marks=pytest.mark.timeout(240))
full_size = pytest.param(5_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])


@pytest.mark.parametrize("calls", [some, full_size])
@pytest.mark.parametrize("url", SHARED, indirect=True)
def test_two_processes_count_right(url: str, calls: int) -> None:
    """They conflict, and no turn is lost or made twice for all that (rule 13, HC-5)."""
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
