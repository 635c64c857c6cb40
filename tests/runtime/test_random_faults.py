"""Whatever the storage does: acknowledged turns are there exactly once, refused ones never."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import PATIENCE, Scripted, begin
from torpor import AgentEvent, ConflictError, DeadLetter, Runtime, SaveError
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.ref import AgentRef
    from torpor.storage import Storage
    from torpor.storage.faults import FaultKind

RATES: dict[FaultKind, float] = {
    "fail": 0.08,
    "fail_after": 0.08,
    "torn": 0.08,
    "conflict": 0.05,
    "slow": 0.05,
}
AGENTS = "abc"
CALLS = 40


class Account(Scripted, idle_timeout=0.001):
    """Keeps each token in a field and in its thread, and tells the ledger of it."""

    tokens: tuple[str, ...] = ()

    def book(self, token: str, *, fail: bool) -> None:
        """Keep ``token``, or fail after having done so."""
        self.tokens = (*self.tokens, token)
        self.thread.append("token", {"token": token})
        self.runtime.get(Ledger, "ledger").tell(Ledger.enter, token)
        if fail:
            raise LookupError(token)

    async def book_async(self, token: str, *, fail: bool) -> None:
        """Do the same on a loop."""
        await asyncio.sleep(0)
        self.book(token, fail=fail)

    def read_tokens(self) -> tuple[tuple[str, ...], list[str]]:
        """Return the tokens of the field and those of the thread."""
        return self.tokens, [entry.payload["token"] for entry in self.thread.entries()]


class Ledger(Scripted, idle_timeout=0.001):
    """Knows what others were told."""

    entries: tuple[str, ...] = ()

    def enter(self, token: str) -> None:
        """Take note of ``token``."""
        self.entries = (*self.entries, token)

    def read_entries(self) -> tuple[str, ...]:
        """Return all tokens."""
        return self.entries


class Outcomes:
    """What callers were told of their tokens."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.lost_tells = 0

    def note_lost_tells(self, event: AgentEvent) -> None:
        """Count what the ledger was told and, as an event says, may not have kept."""
        if event.agent == "ledger/ledger":
            self.lost_tells += isinstance(event, DeadLetter)
            self.lost_tells += getattr(event, "lost_turns", 0)

    def note(self, token: str, get: Callable[[], object]) -> None:
        """Find out what became of ``token``."""
        try:
            get()
        except LookupError:
            self.refused.add(token)
        except ConflictError as error:
            (self.refused if error.outcome == "not_applied" else self.unknown).add(token)
        except SaveError:
            self.unknown.add(token)
        else:
            self.kept.add(token)


def send(agent: AgentRef[Account], token: str, *, fail: bool, way: float) -> None:
    """Send ``token`` in one of several ways, and wait until it is known what became of it."""
    if way < 0.4:
        agent.ask(Account.book, token, fail=fail)
    elif way < 0.7:
        agent.submit(Account.book, token, fail=fail).get()
    else:
        agent.ask(Account.book_async, token, fail=fail)


def book_at_random(runtime: Runtime, sender: str, random: Random, outcomes: Outcomes) -> None:
    """Send many tokens, in several ways, and put agents to sleep between."""
    for n in range(CALLS):
        agent = runtime.get(Account, random.choice(AGENTS))
        token, fail = f"{sender}-{n}", random.random() < 0.1
        way = random.random()
        if way < 0.1:
            agent.hibernate()
        outcomes.note(token, partial(send, agent, token, fail=fail, way=way))


def run(storages: list[Storage], seed: int) -> Outcomes:
    """Run a runtime on each storage with four senders each."""
    outcomes = Outcomes()
    with ExitStack() as stack:
        runtimes = [stack.enter_context(Runtime(storage, max_live=2)) for storage in storages]
        for runtime in runtimes:
            runtime.listen(outcomes.note_lost_tells)
        senders = [
            begin(partial(book_at_random, runtime, name, Random(f"{seed}/{name}"), outcomes))
            for number, runtime in enumerate(runtimes)
            for name in (f"{number}{letter}" for letter in "wxyz")
        ]
        for sender in senders:
            sender.result(PATIENCE)
    return outcomes


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_acknowledged_turns_are_there_once(seed: int, processes: int) -> None:
    """Fields, thread and told tokens agree with what callers were told (DESIGN 5)."""
    with MemoryStorage() as memory:
        faulty: list[Storage] = [
            FaultyStorage.seeded(memory, f"{seed}/{n}", RATES, slow_seconds=0.001)
            for n in range(processes)
        ]
        outcomes = run(faulty, seed)
        with Runtime(memory) as runtime:
            found = [runtime.get(Account, key).ask(Account.read_tokens) for key in AGENTS]
            entered = Counter(runtime.get(Ledger, "ledger").ask(Ledger.read_entries))

    for fields, thread in found:
        assert list(fields) == thread
    stored = Counter(token for fields, _ in found for token in fields)
    assert set(stored.values()) | set(entered.values()) <= {1}
    assert outcomes.kept <= stored.keys()
    assert not outcomes.refused & stored.keys()
    assert stored.keys() <= outcomes.kept | outcomes.unknown
    assert entered.keys() <= stored.keys()
    assert len(outcomes.kept - entered.keys()) <= outcomes.lost_tells
    assert len(outcomes.kept) > CALLS
