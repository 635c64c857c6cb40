"""Two runtimes, a process each, that hammer the same agents in one SQLite file."""

from __future__ import annotations

import random
from collections import Counter, deque
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.stress.processes import PATIENCE, barrier, child
from torpor import Agent, Runtime

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

    from torpor import Reply

COUNTERS = 20
PROCESSES = 2


class Shared(Agent):
    """A counter that several processes add to."""

    count: int = 0

    def add(self) -> int:
        """Add 1."""
        self.count += 1
        return self.count

    def read(self) -> int:
        """Return the count."""
        return self.count


full_size = pytest.param(50_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])


@pytest.mark.parametrize("calls", [2_000, full_size])
def test_two_processes_count_right(tmp_path: Path, calls: int) -> None:
    """No increment is lost or made twice, though the two do get in each other's way (case 5)."""
    url = f"sqlite:///{tmp_path}/store.db"
    start = barrier(PROCESSES)
    added: Counter[int] = Counter()
    conflicts = 0
    with ExitStack() as children:
        receivers = [
            children.enter_context(child(hammer, url, calls, seed, start))[1]
            for seed in range(PROCESSES)
        ]
        for receiver in receivers:
            assert receiver.poll(calls / 100 + PATIENCE), "a process did not end"
            by_counter, met = receiver.recv()
            added += by_counter
            conflicts += met

    with Runtime(url) as runtime:
        counts = {n: runtime.get(Shared, f"{n}").ask(Shared.read) for n in range(COUNTERS)}
    assert counts == added
    assert sum(counts.values()) == PROCESSES * calls
    assert conflicts > 0


def hammer(url: str, calls: int, seed: int, start: Barrier, done: Connection) -> None:
    """Add to random counters in every way of calling; send how often, and the conflicts met."""
    chance = random.Random(seed)
    added: Counter[int] = Counter()
    with Runtime(url) as runtime:
        counters = [runtime.get(Shared, f"{number}") for number in range(COUNTERS)]
        start.wait(PATIENCE)
        replies: deque[Reply[int]] = deque()
        for _ in range(calls):
            number = chance.randrange(COUNTERS)
            added[number] += 1
            way = chance.randrange(3)
            if way == 0:
                counters[number].tell(Shared.add)
            elif way == 1:
                counters[number].ask(Shared.add)
            else:
                replies.append(counters[number].submit(Shared.add))
            if len(replies) == COUNTERS:
                replies.popleft().get()
        for reply in replies:
            reply.get()
    done.send((added, runtime.stats().conflicts))
