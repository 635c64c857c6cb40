"""A KeyboardInterrupt hits a caller inside of the library, wherever one may come.

It is the caller's alone: the agent, the lanes and a stop go on, and nothing is saved twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.actors.kit import SOON, Scripted, run_all_queued
from tests.actors.points import interrupted_at_each_point
from torpor import Agent, Runtime
from torpor.clock import SystemClock
from torpor.storage import ThreadHead
from torpor.storage.memory import MemoryStorage
from torpor.thread import AgentThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage


class Tally(Agent):
    """Counts, in its fields and in its thread."""

    count: int = 0

    def add(self) -> int:
        """Change the state and the thread."""
        self.thread.append("added")
        self.count += 1
        return self.count

    def read(self) -> int:
        """Change nothing."""
        return self.count

    def entries(self) -> int:
        """Count what is in the thread."""
        return len(self.thread.entries())


class Late(Tally, durability="hibernate"):
    """Saved when it hibernates."""


class House:
    """A runtime at a time with one agent, which has counted once."""

    def __init__(self, kind: type[Tally]) -> None:
        self.kind = kind
        self.storage = MemoryStorage()

    def open(self) -> AgentRef[Tally]:
        """Begin with a new storage."""
        self.storage = MemoryStorage()
        self.runtime = Runtime(self.storage, wake_interval=None, timeout=SOON)
        agent = self.runtime.get(self.kind, "a")
        agent.ask(Tally.add)
        return agent

    def check(self, agent: AgentRef[Tally], counts: set[int]) -> None:
        """Require that the agent goes on from one of ``counts``, and is saved at a stop."""
        count = agent.submit(Tally.read).get(timeout=SOON)
        assert count in counts
        assert agent.ask(Tally.add) == count + 1
        assert agent.ask(Tally.entries) == count + 1
        self.runtime.stop()
        checkpoint = self.storage.get_checkpoint(agent.address)
        assert checkpoint is not None
        assert checkpoint.value == {"count": count + 1}


def ask_to_read(agent: AgentRef[Tally]) -> None:
    """Ask for what changes nothing."""
    agent.ask(Tally.read)


def ask_to_add(agent: AgentRef[Tally]) -> None:
    """Ask for what is saved."""
    agent.ask(Tally.add)


def look_afresh(agent: AgentRef[Tally]) -> None:
    """Have it compared with the storage first."""
    agent.options(fresh=True).ask(Tally.read)


def hibernate(agent: AgentRef[Tally]) -> None:
    """Have it saved, and leave memory."""
    agent.hibernate()


def delete(agent: AgentRef[Tally]) -> None:
    """Have it removed."""
    agent.delete()


@pytest.mark.parametrize("kind", [Tally, Late])
@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize(
    ("act", "counts"),
    [
        (ask_to_read, {1}),
        (ask_to_add, {1, 2}),
        (look_afresh, {1}),
        (hibernate, {1}),
        (delete, {0, 1}),
    ],
)
def test_an_interrupt_of_its_caller_leaves_the_agent_whole(
    kind: type[Tally],
    act: Callable[[AgentRef[Tally]], None],
    counts: set[int],
    *,
    asleep: bool,
) -> None:
    """Asleep or awake it answers the next one, saves what it did once, and lets a stop end."""
    house = House(kind)
    agent: Any = None

    def prepare() -> Callable[[], None]:
        nonlocal agent
        agent = house.open()
        if asleep:
            agent.hibernate()
        return lambda: act(agent)

    for _ in interrupted_at_each_point(prepare):
        house.check(agent, counts)


def test_an_interrupt_of_one_reply_keeps_no_other_back(
    agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """Turns that one commit has made durable are all answered."""

    def leave() -> None:
        raise KeyboardInterrupt

    with storage.hang_next("commit") as commit:
        first = agent.submit(Scripted.add)
        assert commit.entered.wait(SOON)
        replies = [agent.submit(Scripted.add) for _ in range(3)]
        replies[0].on_settled(leave)
        run_all_queued(agent)

    assert first.get(timeout=SOON) == 1
    assert [reply.get(timeout=SOON) for reply in replies] == [2, 3, 4]


def test_what_a_thread_has_noted_as_saved_is_not_noted_again() -> None:
    """A change that is sent again after an interrupt takes nothing of a later turn with it."""
    with MemoryStorage() as storage:
        thread = AgentThread(storage, SystemClock(), "tally/a", None)
        thread.append("first")
        thread.close_turn()
        write = thread.finished()
        assert write is not None
        head = ThreadHead(id=write.id, rev=1)
        thread.saved(write, head)
        thread.append("second")
        thread.close_turn()

        thread.saved(write, head)

        unsaved = thread.finished()
        assert unsaved is not None
        assert [entry.kind for entry in unsaved.entries] == ["second"]
