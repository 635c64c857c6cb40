"""Workers that ask a storage which does not answer: they are missed by nobody for long."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable.

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.kit import PATIENCE, LifeClock, Scripted, Watch, result, running
from tests.messages.kit import Receiver, die_before
from tests.runtime.kit import eventually
from tests.schedules.kit import Planner, plan
from torpor import ConflictDetected, MessageDelivered, Runtime
from torpor.address import side_key
from torpor.outbox import LEASE, MAX_FAILURES
from torpor.queue import publish
from torpor.queue.topic import topic_key
from torpor.storage.faults import Fault, Hang, Operation

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from torpor.ref import AgentRef
    from torpor.storage import Storage
    from torpor.storage.faulty import FaultyStorage

DEADLINE = 30.0
WAKE = 2.0
LONG = "k" * 500


class Lazy(Receiver, kind="receiver", durability="hibernate"):
    """Is saved when it hibernates."""


@pytest.fixture
def runtime(storage: FaultyStorage, clock: LifeClock) -> Iterator[Runtime]:
    """Return a runtime in which one job runs at a time, and which looks for what is due."""
    with running(storage, clock=clock, timeout=None, idle_timeout=None) as runtime:
        runtime.manager.pool.slots = 1
        yield runtime


@pytest.fixture
def quiet(storage: FaultyStorage, clock: LifeClock) -> Iterator[Runtime]:
    """Return a runtime in which one job runs at a time, and which looks for nothing."""
    with running(storage, clock=clock, timeout=None, wake_interval=None) as runtime:
        runtime.manager.pool.slots = 1
        yield runtime


@contextmanager
def abandoned(runtime: Runtime, clock: LifeClock, hang: Hang) -> Generator[None]:
    """Let others do their work, within the block too, while a worker hangs in the storage."""
    with hang:
        assert hang.entered.wait(PATIENCE)
        waiting = runtime.get(Scripted, "other").submit(Scripted.add)
        assert runtime.manager.pool.wanted
        clock.advance(DEADLINE)
        assert result(waiting) == 1
        yield
    eventually(lambda: runtime.stats().workers_blocked == 0)


def mail_of(ref: AgentRef[Any]) -> str:
    """Return where an agent's mail is."""
    return side_key("mail", ref.address)


def received(storage: Storage, ref: AgentRef[Any]) -> list[str]:
    """Return what an agent has kept; no call, which would wait for a worker."""
    checkpoint = storage.get_checkpoint(ref.address)
    return [] if checkpoint is None else checkpoint.value["got"]


@pytest.mark.parametrize("operation", ["read", "read_entries"])
def test_mail_that_cannot_be_read_is_read_later(
    runtime: Runtime, storage: FaultyStorage, clock: LifeClock, operation: Operation
) -> None:
    """Neither others nor its receiver wait for that; each message is applied once (HC-3)."""
    agent, watch = runtime.get(Receiver, "a"), Watch(runtime)
    agent.ask(Receiver.received)
    hang = storage.hang_next(operation, keys=[mail_of(agent)])
    agent.send(Receiver.take, "x")

    with abandoned(runtime, clock, hang):
        assert result(agent.submit(Receiver.received)) in ([], ["x"])
        clock.advance(WAKE)
        watch.wait(MessageDelivered)
        assert received(storage.inner, agent) == ["x"]
    agent.send(Receiver.take, "y")
    watch.wait(MessageDelivered, 2)
    assert received(storage.inner, agent) == ["x", "y"]


def test_mail_that_cannot_be_trimmed_is_trimmed_later(
    runtime: Runtime, storage: FaultyStorage, clock: LifeClock
) -> None:
    """Its receiver goes on meanwhile (HC-3)."""
    agent, watch = runtime.get(Receiver, "a"), Watch(runtime)
    storage.next("commit", Fault(), keys=[mail_of(agent)])
    hang = storage.hang_next("commit", keys=[mail_of(agent)])
    agent.send(Receiver.take, "x")
    watch.wait(MessageDelivered)

    with abandoned(runtime, clock, hang):
        clock.advance(WAKE)
        eventually(lambda: storage.inner.list_due(float("1e12")) == [])
    assert received(storage.inner, agent) == ["x"]


def test_who_is_due_is_asked_again(
    memory: Storage, storage: FaultyStorage, clock: LifeClock
) -> None:
    """Schedules of an earlier process are run, though the first question stays open (HC-3)."""
    with running(memory, clock=clock) as earlier:
        plan(earlier.get(Planner, "a"), "x", after=DEADLINE)
    hang = storage.hang_next("list_due")
    options: dict[str, Any] = {"agents": [Planner], "idle_timeout": None, "timeout": None}
    with running(storage, clock=clock, **options) as runtime:
        runtime.manager.pool.slots = 1
        with abandoned(runtime, clock, hang):
            clock.advance(WAKE)
            planner = runtime.get(Planner, "a")
            eventually(lambda: result(planner.submit(Planner.rung)) == ["x"])


def test_mail_whose_receiver_cannot_be_read_wakes_it_later(
    runtime: Runtime, storage: FaultyStorage, clock: LifeClock
) -> None:
    """An address too long for a key is read where its mail is (HC-3)."""
    agent, watch = runtime.get(Receiver, LONG), Watch(runtime)
    hang = storage.hang_next("read", keys=[mail_of(agent)])
    agent.send(Receiver.take, "x")

    with abandoned(runtime, clock, hang):
        clock.advance(WAKE)
        watch.wait(MessageDelivered)
    assert received(storage.inner, agent) == ["x"]


def test_what_cannot_be_published_holds_up_its_topic_only(
    quiet: Runtime, storage: FaultyStorage, clock: LifeClock
) -> None:
    """The events are published in the end (HC-3)."""
    agent = quiet.get(Scripted, "a")
    hang = storage.hang_next("commit", keys=[topic_key("news")])
    agent.ask(Scripted.do, lambda _: publish("news", "x"))

    with abandoned(quiet, clock, hang):
        assert result(agent.submit(Scripted.add)) == 1


def test_a_dead_letter_that_cannot_be_noted_holds_up_its_agent_only(
    quiet: Runtime, storage: FaultyStorage, clock: LifeClock
) -> None:
    """Its turn waits; the worker's place is another's at once (HC-3)."""
    Receiver.broken.add("x")
    agent = quiet.get(Receiver, "a")
    hang = storage.hang_next("commit", keys=[side_key("dead", agent.address)])
    agent.send(Receiver.take, "x")
    with hang:
        for _ in range(MAX_FAILURES * 100):
            if hang.entered.is_set():
                break
            clock.pass_time(10)
        assert hang.entered.wait(PATIENCE)
        assert result(quiet.get(Scripted, "other").submit(Scripted.add)) == 1
    eventually(lambda: len(list(quiet.dead_letters())) == 1)
    Receiver.broken.clear()


def test_mail_read_for_a_copy_that_was_dropped_meanwhile_skips_nothing(
    memory: Storage, storage: FaultyStorage, clock: LifeClock
) -> None:
    """The next copy has applied less, and applies the rest in order (HC-4, HC-9)."""
    with (
        running(memory, clock=clock, wake_interval=None) as sender,
        running(storage, clock=clock, wake_interval=None, agents=[Lazy]) as runtime,
    ):
        die_before(sender.manager.waker, "saved")
        agent, watch = sender.get(Receiver, "a"), Watch(runtime)
        agent.send(Receiver.take, "1")
        runtime.manager.waker.tick(agent.address, mail=True)
        watch.wait(MessageDelivered)
        clock.settle()
        agent.send(Receiver.take, "2")
        with storage.hang_next("read_entries", keys=[mail_of(agent)]) as hang:
            runtime.manager.waker.tick(agent.address, mail=True)
            assert hang.entered.wait(PATIENCE)
            storage.conflict_next(keys=[agent.address])
            runtime.manager.table[agent.address].flush()
            watch.wait(ConflictDetected)

        def received() -> bool:
            clock.advance(LEASE)
            return runtime.get(Lazy, "a").ask(Lazy.received) == ["1", "2"]

        eventually(received)
