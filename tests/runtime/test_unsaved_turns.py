"""Turns whose save was given up: sent until it works, and nothing goes past them."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# A script may be any callable.

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.runtime.failed_saves import add_and_tell, fail_until_deadline
from tests.runtime.kit import (
    PATIENCE,
    Gate,
    Scripted,
    fail_again,
    run_all_queued,
    saved_count,
    stored_agent,
    wait_for,
)
from torpor import (
    ConflictDetected,
    Hibernated,
    HibernationReason,
    Runtime,
    SaveError,
    SaveFailed,
    StorageUnavailableError,
)

if TYPE_CHECKING:
    from tests.runtime.kit import ObservedClock, Watch
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage


@pytest.fixture
def agent(runtime: Runtime) -> AgentRef[Scripted]:
    """Return an agent that is awake and stored."""
    return stored_agent(runtime)


def test_unsaved_turns_are_neither_rolled_back_nor_run_again(
    agent: AgentRef[Scripted],
    receiver: AgentRef[Scripted],
    storage: FaultyStorage,
    clock: ObservedClock,
    watch: Watch,
) -> None:
    """The state stays as the turn left it, and is saved in the end (A save that fails)."""
    runs: list[int] = []
    saved = threading.Event()

    def add(me: Scripted) -> int:
        runs.append(me.count)
        return add_and_tell(saved, receiver)(me)

    storage.disconnect()
    reply = agent.submit(Scripted.do, add)
    fail_until_deadline(reply, storage, clock, watch)
    storage.reconnect()
    clock.pass_backoff()
    assert saved.wait(PATIENCE)

    assert agent.ask(Scripted.read) == 2
    assert runs == [1]
    assert saved_count(storage, agent) == 2


def test_new_calls_fail_at_once_until_a_resend_is_saved(
    agent: AgentRef[Scripted],
    receiver: AgentRef[Scripted],
    storage: FaultyStorage,
    clock: ObservedClock,
    watch: Watch,
) -> None:
    """New calls get ``StorageUnavailableError``, then everything works again."""
    saved = threading.Event()
    storage.disconnect()
    reply = agent.submit(Scripted.do, add_and_tell(saved, receiver))
    fail_until_deadline(reply, storage, clock, watch)

    for _ in range(2):
        with pytest.raises(StorageUnavailableError):
            agent.ask(Scripted.read)
    with pytest.raises(StorageUnavailableError):
        agent.tell(Scripted.add)
    assert isinstance(agent.status().error, StorageUnavailableError)

    storage.reconnect()
    clock.pass_backoff()
    assert saved.wait(PATIENCE)
    assert agent.status().error is None
    assert agent.ask(Scripted.add) == 3


def test_messages_that_waited_are_refused_too(
    agent: AgentRef[Scripted], storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """What is queued when saving is given up fails at once as well, and is not run."""
    gate = Gate()
    storage.disconnect()
    reply = agent.options(timeout=5).submit(Scripted.add)
    watch.wait(SaveFailed)
    agent.options(timeout=None).submit(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    waiting = agent.options(timeout=None).submit(Scripted.add)
    clock.pass_backoff(5)
    wait_for(reply)
    gate.open()
    wait_for(waiting)

    with pytest.raises(StorageUnavailableError):
        waiting.get()
    storage.reconnect()
    clock.pass_backoff()


def test_tells_of_unsaved_turns_stay_held_and_leave_in_order_after_the_resend(
    agent: AgentRef[Scripted],
    receiver: AgentRef[Scripted],
    storage: FaultyStorage,
    clock: ObservedClock,
    watch: Watch,
) -> None:
    """Tells leave once their turn is saved, in order, its caller's error notwithstanding."""
    saved = threading.Event()

    def tell(me: Scripted, name: str) -> None:
        me.count += 1
        receiver.tell(Scripted.write, name)

    storage.disconnect()
    replies = [
        agent.submit(Scripted.do, lambda me, name=name: tell(me, name)) for name in ("a", "b", "c")
    ]
    replies.append(agent.submit(Scripted.do, add_and_tell(saved, receiver)))
    run_all_queued(agent)
    watch.wait(SaveFailed)
    clock.pass_backoff(30)
    for reply in replies:
        wait_for(reply)
        with pytest.raises(SaveError):
            reply.get()
    assert receiver.ask(Scripted.do, lambda me: me.log) == ()

    storage.reconnect()
    clock.pass_backoff()
    assert saved.wait(PATIENCE)
    assert receiver.ask(Scripted.do, lambda me: me.log) == ("a", "b", "c")


def test_a_resend_that_conflicts_drops_the_turns_and_counts_them(  # noqa: PLR0913 - fixtures
    agent: AgentRef[Scripted],
    receiver: AgentRef[Scripted],
    storage: FaultyStorage,
    clock: ObservedClock,
    watch: Watch,
    other: Runtime,
) -> None:
    """If the resend conflicts the turns are dropped and counted in the event; no tell leaves."""

    def tell(me: Scripted) -> None:
        me.count += 1
        receiver.tell(Scripted.add)

    storage.disconnect()
    replies = [agent.submit(Scripted.do, tell) for _ in range(2)]
    run_all_queued(agent)
    watch.wait(SaveFailed)
    clock.pass_backoff(30)
    for reply in replies:
        wait_for(reply)
    other.get(Scripted, "a").ask(Scripted.add, 10)

    storage.reconnect()
    clock.pass_backoff()
    [event] = watch.wait(ConflictDetected)

    assert event.lost_turns == 2
    assert agent.options(fresh=True).submit(Scripted.read).get() == 11
    assert receiver.ask(Scripted.read) == 0


def test_a_failed_hibernation_drops_nothing(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """An agent that goes to sleep while the storage is away sleeps once it is saved (W-2, HC-3)."""

    class Tidy(Scripted):
        def on_hibernate(self) -> None:
            self.count += 100

    agent = runtime.get(Tidy, "a")
    agent.ask(Tidy.add)
    storage.disconnect()
    clock.advance(60)
    for seconds in (1, 60, 1):
        fail_again(clock, watch, seconds)
        assert agent.status().state == "hibernating"
    assert watch.of(Hibernated) == []

    storage.reconnect()
    clock.pass_backoff()

    assert watch.wait(Hibernated) == [Hibernated(agent.address, HibernationReason.IDLE)]
    assert saved_count(storage, agent) == 101
