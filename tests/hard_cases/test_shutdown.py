"""A process that ends takes nothing with it, and nothing away from its successor."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable.

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.lifecycle.kit import (
    PATIENCE,
    Gate,
    LifeClock,
    Scripted,
    Watch,
    begin,
    done,
    result,
    running,
    saved_count,
)
from tests.messages.kit import Receiver, outbox_of
from tests.runtime.kit import eventually
from tests.schedules.kit import Planner, plan
from torpor import (
    Agent,
    AgentPausedError,
    Hibernated,
    HibernationReason,
    MailboxFullError,
    MessageFailed,
    Runtime,
    RuntimeStoppedError,
    ScheduleFired,
)
from torpor.outbox import MAX_FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from torpor.storage.memory import MemoryStorage

MAILBOX = 5


class Slow(Agent):
    """Takes messages, each of them for as long as the test likes."""

    got: list[str] = []  # noqa: RUF012 - pydantic copies it

    begun: ClassVar[threading.Event] = threading.Event()
    """Whether a message was begun."""
    quick: ClassVar[bool] = False

    async def take(self, text: str) -> None:
        """Keep ``text``, in the end."""
        self.begun.set()
        if not self.quick:
            await asyncio.Event().wait()
        self.got.append(text)

    def received(self) -> list[str]:
        """Return what came so far."""
        return [*self.got]


class Stopped(Scripted, supervision="stop"):
    """Is paused by its first failure."""


def refused(me: Scripted) -> None:
    """Ask somebody."""
    me.runtime.get(Scripted, "other").ask(Scripted.add)


def wrapped(me: Scripted) -> None:
    """Ask somebody; say in its own words that this failed."""
    try:
        refused(me)
    except RuntimeStoppedError:
        msg = "no luck"
        raise LookupError(msg) from None


def grouped(me: Scripted) -> None:
    """Ask somebody; fail as a task group does."""
    errors: list[Exception] = [ValueError()]
    try:
        refused(me)
    except RuntimeStoppedError as error:
        errors.append(error)
    msg = "of tasks"
    raise ExceptionGroup(msg, errors)


def fail(_: Scripted) -> None:
    """Fail by itself."""
    raise LookupError


def begin_stop(runtime: Runtime, clock: LifeClock) -> Future[None]:
    """Stop the runtime on another thread; return once it waits for turns to finish."""
    stopping = begin(runtime.stop)
    clock.wait_for_waiter()
    return stopping


def hold(
    runtime: Runtime,
    key: str,
    then: Callable[[Scripted], object],
    cls: type[Scripted] = Scripted,
) -> Gate:
    """Have an agent stand at a gate in a turn; ``then`` is the rest of that turn."""
    gate = Gate()

    def turn(me: Scripted) -> None:
        gate.pass_through()
        then(me)

    runtime.get(cls, key).options(timeout=None).tell(Scripted.do, turn)
    gate.wait_for_entry()
    return gate


def come_to(clock: LifeClock, condition: Callable[[], bool]) -> None:
    """Let time pass until it comes to ``condition``."""

    def later() -> bool:
        clock.advance(2)
        return condition()

    eventually(later)


def test_full_mailboxes_are_emptied(memory: MemoryStorage, clock: LifeClock) -> None:
    """Nothing more fits into them, and yet all that is in them is done and saved (HC-14)."""
    with running(memory, clock=clock, mailbox=MAILBOX, timeout=None) as runtime:
        agents = [runtime.get(Scripted, key) for key in "abc"]
        gates = [hold(runtime, agent.key, lambda _: None) for agent in agents]
        queued = [agent.submit(Scripted.add) for agent in agents for _ in range(MAILBOX)]
        for agent in agents:
            with pytest.raises(MailboxFullError):
                agent.tell(Scripted.add)

        stopping = begin_stop(runtime, clock)
        for gate in gates:
            gate.open()
        done(stopping)

        assert [result(reply) for reply in queued] == [1, 2, 3, 4, 5] * 3
        assert [saved_count(memory, agent) for agent in agents] == [MAILBOX] * 3


def test_who_is_at_rest_leaves_at_once(memory: MemoryStorage, clock: LifeClock) -> None:
    """It waits for no worker, of which those have none left that still run (HC-14)."""
    with running(memory, clock=clock, max_workers=1) as runtime:
        watch, resting = Watch(runtime), runtime.get(Scripted, "resting")
        resting.ask(Scripted.add)
        gate = hold(runtime, "busy", lambda _: None)
        stopping = begin(runtime.stop)

        asleep = Hibernated(resting.address, HibernationReason.STOPPED)
        assert watch.wait(Hibernated) == [asleep]
        gate.open()
        done(stopping)


def test_what_falls_due_while_a_process_drains_is_its_successors(
    memory: MemoryStorage, clock: LifeClock
) -> None:
    """It wakes nobody any more; the tick stays due, and is run once, by the next (HC-28)."""
    Planner.ticks.clear()
    with running(memory, clock=clock) as old:
        watch = Watch(old)
        plan(old.get(Planner, "a"), "x", after=5)
        old.get(Planner, "a").hibernate()
        gate = hold(old, "busy", lambda _: None)
        stopping = begin_stop(old, clock)

        clock.advance(5)  # the next look at the storage falls due as well
        clock.settle()
        gate.open()
        done(stopping)
        assert watch.of(ScheduleFired) == []

    with running(memory, clock=clock, agents=[Planner]) as successor:
        ringing = successor.get(Planner, "a")
        come_to(clock, lambda: ringing.ask(Planner.rung) == ["x"])
    assert len(Planner.ticks) == 1


def test_what_a_draining_process_sends_is_delivered_by_its_successor(
    memory: MemoryStorage, clock: LifeClock
) -> None:
    """The message is saved with the turn, and nobody is woken for it here (HC-14, HC-28)."""

    def send(me: Scripted) -> None:
        me.runtime.get(Receiver, "b").send(Receiver.take, "late")

    with running(memory, clock=clock, agents=[Receiver]) as old:
        gate = hold(old, "sender", send)
        stopping = begin_stop(old, clock)
        gate.open()
        done(stopping)
        sender = old.get(Scripted, "sender")
        assert len(outbox_of(memory, sender)) == 1
        assert memory.get_checkpoint("receiver/b") is None

    with running(memory, clock=clock, agents=[Receiver, Scripted]) as successor:
        come_to(clock, lambda: not outbox_of(memory, sender))
        assert successor.get(Receiver, "b").ask(Receiver.received) == ["late"]


@pytest.mark.parametrize("sent_by", ["nobody", "agent"])
def test_restarts_are_no_failures_of_a_message(
    memory: MemoryStorage, clock: LifeClock, sent_by: str
) -> None:
    """However often a process ends in the middle of it, it is tried again, and done (HC-29)."""
    Slow.quick = False
    Slow.begun.clear()
    with running(memory, clock=clock) as first:
        slow = first.get(Slow, "b")
        if sent_by == "nobody":
            slow.send(Slow.take, "x")
        else:
            first.get(Scripted, "a").ask(Scripted.do, lambda _: slow.send(Slow.take, "x"))
        assert Slow.begun.wait(PATIENCE)
        first.stop(0)
    for _ in range(MAX_FAILURES + 1):
        Slow.begun.clear()
        with running(memory, clock=clock, agents=[Scripted, Slow]) as another:
            watch = Watch(another)
            come_to(clock, Slow.begun.is_set)
            another.stop(0)
            assert {event.failures for event in watch.of(MessageFailed)} <= {0}

    Slow.quick = True
    with running(memory, clock=clock, agents=[Scripted, Slow]) as last:
        slow = last.get(Slow, "b")
        come_to(clock, lambda: slow.ask(Slow.received) == ["x"])
        assert list(last.dead_letters()) == []


def stop_while(memory: MemoryStorage, clock: LifeClock, then: Callable[[Scripted], None]) -> None:
    """End a process while an agent runs ``then``, which it begins after the time to drain."""
    with running(memory, clock=clock) as runtime:
        gate = hold(runtime, "a", then, Stopped)
        stopping = begin_stop(runtime, clock)
        clock.pass_deadline()
        eventually(lambda: runtime.manager.refusing is not None)
        gate.open()
        done(stopping)


@pytest.mark.parametrize("then", [refused, wrapped, grouped])
def test_the_end_of_a_process_pauses_nobody(
    memory: MemoryStorage, clock: LifeClock, then: Callable[[Scripted], None]
) -> None:
    """A call that is refused because the runtime stops is no failure of its caller (HC-29)."""
    stop_while(memory, clock, then)

    with running(memory, clock=clock) as successor:
        assert successor.get(Stopped, "a").ask(Stopped.add) == 1


def test_a_failure_at_the_end_of_a_process_pauses(memory: MemoryStorage, clock: LifeClock) -> None:
    """What a handler is to blame for counts to the end."""
    stop_while(memory, clock, fail)

    with running(memory, clock=clock) as successor, pytest.raises(AgentPausedError):
        successor.get(Stopped, "a").ask(Stopped.add)
