"""Very many agents in one SQLite file, by one process that keeps a thousand of them in memory."""

from __future__ import annotations

import gc
import random
import resource
import sys
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.processes import child
from torpor import Agent, Runtime
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection
    from pathlib import Path

    from torpor import Reply

MAX_LIVE = 1_000
SAMPLE = 500
STATE_BYTES = 900
MAX_BYTES_ON_DISK = 1_300
# Either is a fraction of what 40,000 agents, the fewest that are made after warming up, would
# take in memory. Bytes grow too while SQLite's page caches, 16 MiB a connection, fill.
MAX_BYTES_MORE = 64 * 1024 * 1024
MAX_BLOCKS_MORE = 10_000


class Person(Agent):
    """Holds 0.9 KB of state."""

    name: str = ""
    number: int = 0
    about: str = ""

    def introduce(self, number: int) -> None:
        """Fill in the state of person ``number``."""
        self.name, self.number, self.about = f"person {number}", number, f"{number:0870}"

    def read(self) -> tuple[str, int, str]:
        """Return the state."""
        return self.name, self.number, self.about


class Census(NamedTuple):
    """A process at one moment: ``blocks`` of memory that its interpreter holds now."""

    live: int
    peak_bytes: int
    blocks: int


full_size = pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])


@pytest.mark.parametrize("people", [50_000, full_size])
def test_agents_beyond_memory(tmp_path: Path, people: int) -> None:
    """Memory does not grow with agents, disk by 1.3 KB for 0.9 KB, and each thaws right (HC-26)."""
    path = tmp_path / "store.db"
    with child(populate, f"sqlite:///{path}", people) as (_, receiver):
        tenths: list[Census] = receiver.recv()

    warm, full = tenths[1], tenths[-1]
    assert max(tenth.live for tenth in tenths) <= MAX_LIVE
    assert full.peak_bytes - warm.peak_bytes < MAX_BYTES_MORE
    assert full.blocks - warm.blocks < MAX_BLOCKS_MORE
    with open_storage(f"sqlite:///{path}") as storage:
        [checkpoint] = storage.list_checkpoints(limit=1)
        assert len(checkpoint.data or "") >= STATE_BYTES
    assert path.stat().st_size / people <= MAX_BYTES_ON_DISK
    with Runtime(f"sqlite:///{path}") as runtime:
        for number in random.Random(people).sample(range(people), SAMPLE):
            state = runtime.get(Person, f"{number}").ask(Person.read)
            assert state == (f"person {number}", number, f"{number:0870}")


def test_hibernated_agents_leave_nothing_behind() -> None:
    """What an agent takes in memory is free once it hibernates, however long its idle timeout."""
    with Runtime("memory:", idle_timeout=None) as runtime:
        _visit(runtime, range(1_000))
        gc.collect()
        before = sys.getallocatedblocks()

        _visit(runtime, range(1_000, 11_000))

        gc.collect()
        assert sys.getallocatedblocks() - before < 1_000


def _visit(runtime: Runtime, people: Iterable[int]) -> None:
    for number in people:
        person = runtime.get(Person, f"{number}")
        person.ask(Person.read)
        person.hibernate()


def populate(url: str, people: int, result: Connection) -> None:
    """Create agents with ``MAX_LIVE`` calls under way; send a census of each tenth of them."""
    tenths: list[Census] = []
    with Runtime(url, max_live=MAX_LIVE) as runtime:
        replies: deque[Reply[None]] = deque()
        for number in range(people):
            ref = runtime.get(Person, f"{number}")
            replies.append(ref.submit(Person.introduce, number))
            if len(replies) == MAX_LIVE:
                replies.popleft().get()
            if (number + 1) % (people // 10) == 0:
                while replies:
                    replies.popleft().get()
                tenths.append(_census(runtime))
    result.send(tenths)


def _census(runtime: Runtime) -> Census:
    gc.collect()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return Census(runtime.stats().live, peak * unit, sys.getallocatedblocks())
