"""Messages at the very boundary of hibernation: none lost, none handled twice, none out of order.

An agent here is asleep, thawing, awake or just about to leave when its next message comes.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
from pydantic import Field

from tests.processes import PATIENCE
from torpor import Agent, Hibernated, HibernationReason, Runtime
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torpor import AgentRef, Reply
    from torpor.options import Durability

SENDERS = 8
IN_FLIGHT = 200
REQUESTED = 0.02


class Ledger(Agent):
    """Takes the messages 1, 2, 3 … of each sender, in this order and no other."""

    last: dict[str, int] = Field(default_factory=dict)

    def take(self, sender: str, number: int) -> int:
        """Note a message; fails unless it is the one after the sender's last."""
        expected = self.last.get(sender, 0) + 1
        if number != expected:
            msg = f"message {number} of {sender} came instead of {expected}"
            raise ValueError(msg)
        self.last[sender] = number
        return number

    async def take_async(self, sender: str, number: int) -> int:
        """Note a message on the event loop."""
        return self.take(sender, number)

    def taken(self) -> dict[str, int]:
        """Return how many messages of each sender came."""
        return dict(self.last)


class Diary(Ledger):
    """Notes each hibernation, so that each is a turn with something to save."""

    nights: int = 0

    def on_hibernate(self) -> None:
        """Count it."""
        self.nights += 1


full_size = pytest.param(200_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])


@pytest.mark.parametrize("messages", [40_000, full_size])
@pytest.mark.parametrize(
    ("storage", "durability"),
    [("memory", "turn"), ("memory", "interval"), ("memory", "hibernate"), ("sqlite", "turn")],
)
def test_every_message_is_handled_once_and_in_order(
    tmp_path: Path, messages: int, storage: str, durability: Durability
) -> None:
    """Agents that leave memory all the time lose no message of eight senders (HC-1, HC-2)."""
    url = "memory:" if storage == "memory" else f"sqlite:///{tmp_path}/store.db"
    reasons: list[HibernationReason] = []
    with Runtime(url, idle_timeout=0.0005, max_live=50, durability=durability) as runtime:
        runtime.listen(lambda event: reasons.append(event.reason), Hibernated)
        _send_and_compare(runtime, agents=1_000, messages=messages)

        assert runtime.stats().thaws > messages // 10
    in_use = {HibernationReason.IDLE, HibernationReason.EVICTED, HibernationReason.REQUESTED}
    assert in_use <= set(reasons)


@pytest.mark.parametrize("messages", [8_000, full_size])
def test_threads_interrupted_at_every_step(hasty: None, messages: int) -> None:
    """The same with few agents, and threads that take turns every few instructions (HC-2)."""
    del hasty
    with Runtime("memory:", idle_timeout=0, max_live=1) as runtime:
        _send_and_compare(runtime, agents=4, messages=messages)


def test_an_agent_that_is_woken_while_it_thaws_is_loaded_once() -> None:
    """A second load would come too late, and replace what was saved meanwhile."""
    with MemoryStorage() as inner, FaultyStorage(inner) as storage, Runtime(storage) as runtime:
        ledger = runtime.get(Ledger, "a")
        with storage.hang_next("read") as hang:
            reply = ledger.submit(Ledger.take, "sender", 1)
            assert hang.entered.wait(PATIENCE)
            activation = runtime.manager.table[ledger.address]
            while not activation.parked:
                pass
            activation.parked = False
            activation.run()
            assert activation.parked
        reply.get()

        ledger.ask(Ledger.take, "sender", 2)

        assert storage.calls["read"] == 1


@pytest.fixture
def hasty() -> Iterator[None]:
    """Have the interpreter switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def _send_and_compare(runtime: Runtime, *, agents: int, messages: int) -> None:
    ledgers = [runtime.get((Ledger, Diary)[n % 2], f"{n}") for n in range(agents)]
    with ThreadPoolExecutor(SENDERS) as pool:
        share = messages // SENDERS
        sent = list(pool.map(partial(_send, ledgers, share), range(SENDERS)))
    for number, ledger in enumerate(ledgers):
        taken = ledger.ask(Ledger.taken)
        assert taken == {f"{s}": n for s, counts in enumerate(sent) if (n := counts[number])}
    stats = runtime.stats()
    assert stats.turns == messages + agents
    assert (stats.dead_letters, stats.conflicts, stats.save_failures) == (0, 0, 0)


def _send(ledgers: list[AgentRef[Ledger]], count: int, sender: int) -> Counter[int]:
    """Send ``count`` messages to random agents in every way there is; return how many to each."""
    chance = random.Random(sender)
    sent: Counter[int] = Counter()
    replies: list[tuple[Reply[int], int]] = []
    for _ in range(count):
        index = chance.randrange(len(ledgers))
        sent[index] += 1
        number, ledger = sent[index], ledgers[index]
        if chance.random() < REQUESTED:
            ledger.hibernate()
        way = chance.randrange(4)
        if way == 0:
            ledger.tell(Ledger.take, f"{sender}", number)
        elif way == 1:
            assert ledger.ask(Ledger.take, f"{sender}", number) == number
        elif way == 2:
            replies.append((ledger.submit(Ledger.take, f"{sender}", number), number))
        else:
            replies.append((ledger.submit(Ledger.take_async, f"{sender}", number), number))
        if len(replies) == IN_FLIGHT:
            _check(replies)
            replies.clear()
    _check(replies)
    return sent


def _check(replies: list[tuple[Reply[int], int]]) -> None:
    for reply, number in replies:
        assert reply.get() == number
