"""A save that fails: retried, then reported to who waits for it."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
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
    begin,
    fail_again,
    run_all_queued,
    saved_count,
    stored_agent,
    wait_for,
)
from torpor import (
    CallTimeoutError,
    ConflictError,
    Runtime,
    SaveError,
    SaveFailed,
    StorageError,
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


def test_a_transient_failure_goes_unnoticed(runtime: Runtime, storage: FaultyStorage) -> None:
    """Transient errors are retried within the deadline (DESIGN 5, A save that fails)."""
    del runtime
    with Runtime(storage) as ticking:
        agent = ticking.get(Scripted, "a")
        storage.fail_next("commit", times=5)

        assert agent.ask(Scripted.add) == 1

        assert ticking.stats().save_failures == 5
    assert saved_count(storage, agent) == 1


@pytest.mark.parametrize("applied", [0, 1, 2])
def test_a_torn_batch_is_sent_again(storage: FaultyStorage, applied: int) -> None:
    """However much of a batch was written before it broke off, nothing is lost or doubled."""
    with Runtime(storage) as ticking:
        agents = [ticking.get(Scripted, key) for key in "abc"]
        for agent in agents:
            agent.ask(Scripted.read)
        with storage.hang_next("commit") as hang:
            first = ticking.get(Scripted, "first").submit(Scripted.add)
            assert hang.entered.wait(PATIENCE)
            replies = [agent.submit(Scripted.add) for agent in agents]
            for agent in agents:
                run_all_queued(agent)
            storage.tear_next(applied)

        assert [reply.get() for reply in (first, *replies)] == [1] * 4
        assert [agent.ask(Scripted.add) for agent in agents] == [2] * 3
    assert [saved_count(storage, agent) for agent in agents] == [2] * 3


def test_each_failure_is_reported(
    agent: AgentRef[Scripted], storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """An event tells the error and the attempt, counted from 1."""
    storage.fail_next("commit", times=2)

    reply = agent.submit(Scripted.add)
    watch.wait(SaveFailed)
    clock.pass_backoff()
    watch.wait(SaveFailed, 2)
    clock.pass_backoff()

    assert reply.get() == 2
    events = watch.of(SaveFailed)
    assert [(event.agent, event.attempt) for event in events] == [
        (agent.address, 1),
        (agent.address, 2),
    ]
    assert all(isinstance(event.error, StorageUnavailableError) for event in events)


def test_after_the_deadline_the_caller_gets_a_save_error(
    agent: AgentRef[Scripted], storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """Callers of unsaved turns get ``SaveError(outcome="unknown")`` (A save that fails)."""
    storage.disconnect()
    reply = agent.submit(Scripted.add)
    fail_until_deadline(reply, storage, clock, watch)

    with pytest.raises(SaveError) as raised:
        reply.get()

    assert (raised.value.agent, raised.value.outcome) == (agent.address, "unknown")
    assert isinstance(raised.value.__cause__, StorageUnavailableError)
    storage.reconnect()
    clock.pass_backoff()


def test_a_blocking_caller_gets_a_save_error_at_its_deadline(
    agent: AgentRef[Scripted], storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """Who waits in ``ask`` learns at the end of its own timeout, whatever the retries do."""
    storage.disconnect()
    asking = begin(lambda: agent.options(timeout=3).ask(Scripted.add))
    fail_again(clock, watch, 3)

    with pytest.raises(SaveError):
        asking.result(PATIENCE)

    storage.reconnect()
    clock.pass_backoff()


def test_a_save_that_never_fails_but_takes_too_long_times_out(
    agent: AgentRef[Scripted], storage: FaultyStorage, clock: ObservedClock
) -> None:
    """While a commit hangs nothing is known: the outcome of the call is unknown."""
    with storage.hang_next("commit") as hang:
        reply = agent.options(timeout=3).submit(Scripted.add)
        assert hang.entered.wait(PATIENCE)
        clock.advance(3)

        with pytest.raises(CallTimeoutError) as raised:
            reply.get()
        assert raised.value.outcome == "unknown"

    assert agent.ask(Scripted.add) == 3


def test_an_error_that_is_not_transient_is_told_at_once(
    agent: AgentRef[Scripted],
    receiver: AgentRef[Scripted],
    storage: FaultyStorage,
    clock: ObservedClock,
) -> None:
    """A retry will hardly mend it: the caller need not wait. It is sent again all the same."""
    saved = threading.Event()
    storage.fail_next("commit", error=StorageError("broken"))

    reply = agent.submit(Scripted.do, add_and_tell(saved, receiver))
    wait_for(reply)

    with pytest.raises(SaveError, match="broken"):
        reply.get()
    clock.pass_backoff()
    assert saved.wait(PATIENCE)
    assert agent.ask(Scripted.read) == 2


def test_other_agents_go_on(
    agent: AgentRef[Scripted],
    receiver: AgentRef[Scripted],
    storage: FaultyStorage,
    clock: ObservedClock,
    watch: Watch,
) -> None:
    """An agent whose save fails harms no other."""
    storage.fail_next("commit", keys=[agent.address])
    reply = agent.submit(Scripted.add)
    watch.wait(SaveFailed)

    assert receiver.ask(Scripted.add) == 1

    clock.pass_backoff()
    assert reply.get() == 2


def test_a_slow_turn_after_a_failed_save_is_not_blamed_on_it(
    agent: AgentRef[Scripted], storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """A turn that is run again after a failure and a conflict times out like any other."""
    gate, runs = Gate(), []

    def hold(me: Scripted) -> None:
        runs.append(me.count)
        if len(runs) == 2:
            gate.pass_through()

    storage.fail_next("commit", times=2)
    storage.conflict_next()
    unknown = agent.submit(Scripted.add)
    watch.wait(SaveFailed)
    slow = agent.options(timeout=5).submit(Scripted.do, hold)
    run_all_queued(agent)
    fail_again(clock, watch)
    clock.pass_backoff()
    clock.pass_backoff()
    gate.wait_for_entry()
    clock.advance(5)

    with pytest.raises(CallTimeoutError):
        slow.get()
    gate.open()
    with pytest.raises(ConflictError):
        unknown.get()
    assert agent.status().error is None
