"""Turns of many agents, and the queued turns of one, share a commit."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import PATIENCE, Scripted, Watch, eventually, run_all_queued, saved_count
from torpor import RecordTooLargeError, Runtime, SaveFailed
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.runtime.kit import ObservedClock
    from torpor.storage import Change
    from torpor.storage.memory import MemoryStorage


def test_turns_of_many_agents_share_a_commit(runtime: Runtime, storage: FaultyStorage) -> None:
    """While a commit is under way the next batch gathers (DESIGN 5, Group commit)."""
    agents = [runtime.get(Scripted, str(n)) for n in range(100)]
    for agent in agents:
        agent.ask(Scripted.read)
    with storage.hang_next("commit") as hang:
        first = runtime.get(Scripted, "first").submit(Scripted.add)
        assert hang.entered.wait(PATIENCE)
        replies = [agent.submit(Scripted.add) for agent in agents]
        for agent in agents:
            # A reading turn behind the writing one: when it has begun, that one is in the lane.
            run_all_queued(agent)
    first.get()
    assert [reply.get() for reply in replies] == [1] * 100

    assert len(storage.batches) <= 3
    assert sum(map(len, storage.batches)) == 101


def test_queued_turns_of_one_agent_share_a_commit(runtime: Runtime, storage: FaultyStorage) -> None:
    """The turns that ran during a commit are one change of the next (DESIGN 5, Group commit)."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.read)
    with storage.hang_next("commit") as hang:
        replies = [agent.submit(Scripted.add)]
        assert hang.entered.wait(PATIENCE)
        replies += [agent.submit(Scripted.add) for _ in range(50)]
        run_all_queued(agent)

    assert [reply.get() for reply in replies] == list(range(1, 52))
    assert storage.calls["commit"] == 2


def test_nobody_waits_for_a_timer(runtime: Runtime, clock: ObservedClock) -> None:
    """A lone turn is committed at once: here no time passes at all (DESIGN 5, Group commit)."""
    assert runtime.get(Scripted, "a").submit(Scripted.add).get() == 1
    assert clock.monotonic() == 0


def test_a_lane_needs_no_thread(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds the lane free runs the batch (DESIGN 5, Group commit)."""
    threads: list[threading.Thread] = []
    commit = runtime.storage._commit

    def look(changes: Sequence[Change]) -> object:
        threads.append(threading.current_thread())
        return commit(changes)

    monkeypatch.setattr(runtime.storage, "_commit", look)

    runtime.get(Scripted, "a").ask(Scripted.add)

    assert threads == [threading.current_thread()]


def test_a_change_is_never_twice_in_a_batch(runtime: Runtime, storage: FaultyStorage) -> None:
    """One agent has at most one change on its way (DESIGN 4, rule 11)."""
    agents = [runtime.get(Scripted, str(n)) for n in range(5)]
    replies = [agent.submit(Scripted.add) for _ in range(200) for agent in agents]
    for reply in replies:
        reply.get()

    for batch in storage.batches:
        assert len({change.key for change in batch}) == len(batch)
    assert [saved_count(storage, agent) for agent in agents] == [200] * 5


def test_a_batch_past_its_deadline_is_abandoned(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """The lane goes on without a batch that hangs; its changes are sent again (Group commit)."""
    agent, neighbour = runtime.get(Scripted, "a"), runtime.get(Scripted, "b")
    agent.ask(Scripted.read)
    neighbour.ask(Scripted.read)
    with storage.hang_next("commit") as hang:
        reply = agent.options(timeout=None).submit(Scripted.add)
        assert hang.entered.wait(PATIENCE)
        waiting = neighbour.options(timeout=None).submit(Scripted.add)

        clock.advance(30)

        [failure] = watch.wait(SaveFailed)
        assert failure.agent == agent.address
        assert waiting.get() == 1
        clock.pass_backoff()
        assert reply.get() == 1


def test_a_late_answer_of_an_abandoned_batch_is_ignored(
    memory: MemoryStorage, clock: ObservedClock
) -> None:
    """What was abandoned and sent again is applied once, whichever sending comes first."""
    storage = FaultyStorage(memory)
    storage.timeout = 2
    with Runtime(storage, clock=clock) as runtime:
        watch = Watch(runtime)
        agent = runtime.get(Scripted, "a")
        agent.ask(Scripted.read)
        with storage.hang_next("commit", after=True) as hang:
            reply = agent.submit(Scripted.add)
            assert hang.entered.wait(PATIENCE)
            clock.advance(4)
            watch.wait(SaveFailed)
            clock.pass_backoff()
            assert reply.get() == 1

            with storage.hang_next("commit") as second:
                later = agent.submit(Scripted.add)
                assert second.entered.wait(PATIENCE)
                hang.release()
                eventually(lambda: runtime.stats().workers_blocked == 0)
                assert not later.done

        assert later.get() == 2
        assert agent.ask(Scripted.add) == 3
    assert saved_count(memory, agent) == 3


def test_hanging_batches_do_not_use_up_the_workers(
    memory: MemoryStorage, clock: ObservedClock
) -> None:
    """However many abandoned batches hang, other agents go on (DESIGN 5, Group commit)."""
    storage = FaultyStorage(memory)
    storage.timeout = 1
    with Runtime(storage, clock=clock) as runtime:
        watch = Watch(runtime)
        agent = runtime.get(Scripted, "a")
        agent.ask(Scripted.read)
        tries = runtime.manager.pool.slots + 2
        hangs = [storage.hang_next("commit", keys=[agent.address]) for _ in range(tries)]
        reply = agent.submit(Scripted.add)
        try:
            for n, hang in enumerate(hangs, start=1):
                assert hang.entered.wait(PATIENCE)
                clock.advance(2)
                watch.wait(SaveFailed, n)
                clock.pass_backoff(0.25)

            assert reply.get() == 1
            assert runtime.get(Scripted, "b").submit(Scripted.add).get() == 1
        finally:
            for hang in hangs:
                hang.release()


def test_a_rejected_change_fails_only_its_own_agent(
    ticking: Runtime, storage: FaultyStorage
) -> None:
    """A change that can't be stored disturbs no other of its batch (DESIGN 4, Rejected, HC-35)."""
    storage.max_document_bytes = 200
    guilty, innocent = ticking.get(Scripted, "guilty"), ticking.get(Scripted, "innocent")
    guilty.ask(Scripted.read)
    innocent.ask(Scripted.read)
    with storage.hang_next("commit") as hang:
        first = ticking.get(Scripted, "first").submit(Scripted.add)
        assert hang.entered.wait(PATIENCE)
        bad = guilty.submit(Scripted.write, "x" * 300)
        good = innocent.submit(Scripted.add)
    first.get()

    with pytest.raises(RecordTooLargeError):
        bad.get()
    assert good.get() == 1


def test_a_rejected_turn_fails_alone_among_the_turns_of_its_change(
    ticking: Runtime, storage: FaultyStorage
) -> None:
    """Of several turns in one change only the one that can't be stored fails."""
    storage.max_document_bytes = 200
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.read)
    with storage.hang_next("commit") as hang:
        first = agent.submit(Scripted.add)
        assert hang.entered.wait(PATIENCE)
        before = agent.submit(Scripted.add)
        bad = agent.submit(Scripted.write, "x" * 300)
        later = agent.submit(Scripted.add)
        run_all_queued(agent)

    assert (first.get(), before.get()) == (1, 2)
    with pytest.raises(RecordTooLargeError):
        bad.get()
    assert later.get() == 3
    assert agent.ask(Scripted.do, lambda me: me.log) == ()
    assert saved_count(storage, agent) == 3


def test_a_rejected_turn_tells_nobody(ticking: Runtime, storage: FaultyStorage) -> None:
    """What can't be stored did not happen: its tells are dropped with it."""
    storage.max_document_bytes = 200
    agent, receiver = ticking.get(Scripted, "a"), ticking.get(Scripted, "receiver")

    def tell(me: Scripted) -> None:
        me.write("x" * 300)
        receiver.tell(Scripted.add)

    with pytest.raises(RecordTooLargeError):
        agent.ask(Scripted.do, tell)

    assert receiver.ask(Scripted.read) == 0
