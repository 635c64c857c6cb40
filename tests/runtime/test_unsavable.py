"""Answered changes that the storage refuses: they stay in memory, or it is told that they go."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# A script may be any callable.

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import PATIENCE, Lazy, Regular, begin, saved_count, wait_for
from torpor import (
    ConflictDetected,
    CorruptRecordError,
    RecordTooLargeError,
    Runtime,
    SaveFailed,
    StorageError,
    ThawError,
)

if TYPE_CHECKING:
    from tests.runtime.kit import ObservedClock, Watch
    from torpor import AgentRef
    from torpor.storage.faulty import FaultyStorage


def too_large(runtime: Runtime, storage: FaultyStorage) -> AgentRef[Lazy]:
    """Return an agent with a line in its log that makes it too large for the storage."""
    agent = runtime.get(Lazy, "a")
    agent.ask(Lazy.write, "x" * 300)
    storage.max_document_bytes = 200
    with pytest.raises(RecordTooLargeError):
        agent.hibernate()
    return agent


@pytest.mark.parametrize("deleted", [False, True])
def test_a_fresh_look_that_drops_what_was_answered_says_so(
    runtime: Runtime, other: Runtime, storage: FaultyStorage, watch: Watch, *, deleted: bool
) -> None:
    """What can't be saved gives way to what another process stored: a conflict like any other."""
    agent = runtime.get(Lazy, "a")
    agent.ask(Lazy.add)
    agent.hibernate()
    for text in ("x" * 300, "y"):
        agent.ask(Lazy.write, text)
    storage.max_document_bytes = 200
    with pytest.raises(RecordTooLargeError):
        agent.hibernate()
    theirs = other.get(Lazy, "a")
    theirs.ask(Lazy.add, 10)
    theirs.hibernate()
    if deleted:
        theirs.delete()

    assert agent.options(fresh=True).ask(Lazy.read) == (0 if deleted else 11)

    [event] = watch.of(ConflictDetected)
    assert (event.agent, event.lost_turns) == (agent.address, 2)
    assert (event.expected, event.found) == (1, 0 if deleted else 2)
    agent.ask(Lazy.add)
    agent.hibernate()
    assert len(watch.of(ConflictDetected)) == 1


def test_a_fresh_look_at_what_nobody_changed_drops_nothing(
    runtime: Runtime, storage: FaultyStorage, watch: Watch
) -> None:
    """What can't be saved stays, as long as it goes on from what is stored."""
    agent = too_large(runtime, storage)

    assert agent.options(fresh=True).ask(Lazy.do, lambda me: len(me.log)) == 1

    assert watch.of(ConflictDetected) == []
    storage.max_document_bytes = None
    agent.hibernate()
    assert saved_count(storage, agent) == 0


@pytest.mark.parametrize("outage", [False, True])
def test_a_fresh_look_that_fails_drops_nothing(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock, watch: Watch, *, outage: bool
) -> None:
    """Its caller hears why; what was answered, and is only in memory, stays there."""
    agent = too_large(runtime, storage)

    if outage:
        storage.fail_next("read", times=2)
        reply = agent.options(fresh=True, timeout=None).submit(Lazy.read)
        clock.pass_backoff(60)
    else:
        storage.fail_next("read", error=CorruptRecordError(agent.address, "on purpose"))
        reply = agent.options(fresh=True).submit(Lazy.read)
    wait_for(reply)
    with pytest.raises(ThawError):
        reply.get()

    assert agent.ask(Lazy.do, lambda me: len(me.log)) == 1
    assert watch.of(ConflictDetected) == []
    storage.max_document_bytes = None


def test_a_state_that_is_refused_after_a_failure_can_be_mended(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """Calls are refused while saving fails; if then the state is to blame they are let in."""
    agent = runtime.get(Lazy, "a")
    agent.ask(Lazy.write, "x" * 300)
    storage.fail_next("commit", error=StorageError("on purpose"))
    hibernation = begin(agent.hibernate)
    watch.wait(SaveFailed)
    storage.max_document_bytes = 200
    clock.pass_backoff()
    with pytest.raises(RecordTooLargeError):
        hibernation.result(PATIENCE)

    agent.ask(Lazy.do, lambda me: setattr(me, "log", ()))
    agent.hibernate()

    assert saved_count(storage, agent) == 0


def test_a_state_too_large_to_save_stays_in_memory(
    runtime: Runtime, storage: FaultyStorage, watch: Watch
) -> None:
    """A failed hibernation never drops state: the agent stays, and can mend itself."""
    storage.max_document_bytes = 200
    agent = runtime.get(Lazy, "a")
    agent.ask(Lazy.write, "x" * 300)

    with pytest.raises(RecordTooLargeError):
        agent.hibernate()

    assert agent.status().state == "live"
    assert len(watch.of(SaveFailed)) == 1
    agent.ask(Lazy.do, lambda me: setattr(me, "log", ()))
    agent.ask(Lazy.add)
    agent.hibernate()
    assert saved_count(storage, agent) == 1


def test_delete_wins_over_a_state_that_could_not_be_saved(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock
) -> None:
    """What could not be saved is deleted with the agent, and does not come back later."""
    agent = runtime.get(Regular, "a")
    storage.max_document_bytes = 200
    agent.ask(Regular.write, "x" * 300)
    with pytest.raises(RecordTooLargeError):
        agent.hibernate()
    storage.max_document_bytes = None

    agent.delete()
    clock.advance(5)
    clock.settle()
    runtime.get(Regular, "b").ask(Regular.add)
    runtime.get(Regular, "b").hibernate()

    assert storage.get_checkpoint(agent.address) is None
