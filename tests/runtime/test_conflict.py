"""Another process has written the agent since it was thawed: its turns run again."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import (
    PATIENCE,
    Gate,
    Scripted,
    Watch,
    other_process_adds,
    run_all_queued,
    saved_count,
    wait_for,
)
from torpor import ConflictDetected, ConflictError, Runtime, Thawed

if TYPE_CHECKING:
    from tests.runtime.kit import ObservedClock
    from torpor.ref import AgentRef
    from torpor.storage import Storage
    from torpor.storage.faulty import FaultyStorage


def test_a_turn_runs_again_on_the_newest_state(
    any_storage: Storage,
) -> None:
    """The stale copy is discarded, the newest thawed, the turn run again (DESIGN 5, Conflict)."""
    with Runtime(any_storage) as runtime, Runtime(any_storage) as other:
        agent = runtime.get(Scripted, "a")
        agent.ask(Scripted.add, 1)
        other_process_adds(other, 10)

        assert agent.ask(Scripted.add, 1) == 12

        assert saved_count(any_storage, agent) == 12
        assert runtime.stats().conflicts == 1


def test_nothing_of_the_stale_copy_is_left(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted]
) -> None:
    """Fields and thread are those of the newest record, plus the turn that ran again."""
    other.get(Scripted, "a").ask(Scripted.note, "other")

    assert agent.ask(Scripted.note, "mine") == 2

    assert agent.ask(Scripted.notes) == ["other", "mine"]
    copy = ticking.thaw(Scripted, "a")
    assert copy is not None
    assert [entry.payload["text"] for entry in copy.thread.entries()] == ["other", "mine"]


def test_all_turns_since_the_last_durable_revision_run_again_in_order(
    other: Runtime, agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """Those of the conflicting change and those after it, reading ones too (Conflict)."""
    first_runs: list[str] = []

    def note(me: Scripted, name: str) -> str:
        me.log = (*me.log, name)
        first_runs.append(name)
        return ",".join(me.log)

    with storage.hang_next("commit") as hang:
        replies = [agent.submit(Scripted.do, lambda me: note(me, "a"))]
        assert hang.entered.wait(PATIENCE)
        replies += [
            agent.submit(Scripted.do, lambda me, name=name: note(me, name)) for name in "bcd"
        ]
        read = agent.submit(Scripted.do, lambda me: "|".join(me.log))
        run_all_queued(agent)
        other_process_adds(other, 10)

    assert [reply.get() for reply in replies] == ["a", "a,b", "a,b,c", "a,b,c,d"]
    assert read.get() == "a|b|c|d"
    assert first_runs == list("abcdabcd")
    assert agent.ask(Scripted.read) == 11


def test_a_turn_that_runs_while_the_conflict_comes_runs_again(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """A later turn, still running when its state turns out to be stale, is run again too."""
    gate, runs = Gate(), []

    def hold(me: Scripted) -> int:
        runs.append(me.count)
        if len(runs) == 1:
            gate.pass_through()
        me.count += 1
        return me.count

    found = Watch(ticking)
    with storage.hang_next("commit") as hang:
        first = agent.submit(Scripted.add, 1)
        assert hang.entered.wait(PATIENCE)
        running = agent.submit(Scripted.do, hold)
        gate.wait_for_entry()
        behind = agent.submit(Scripted.add, 1)
        other_process_adds(other, 10)
    found.wait(ConflictDetected)
    gate.open()

    assert (first.get(), running.get(), behind.get()) == (12, 13, 14)
    assert runs == [2, 12]


def test_a_turn_keeps_its_arguments_deadline_and_reply(
    runtime: Runtime, other: Runtime, clock: ObservedClock
) -> None:
    """A turn runs again as the same call: its caller need not notice (DESIGN 5, Conflict)."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add, 1)
    other_process_adds(other, 10)
    given = ["original"]

    reply = agent.options(timeout=5).submit(Scripted.do, lambda me: me.write(given.pop()))
    call = reply.call
    assert call is not None
    deadline = call.deadline
    clock.pass_backoff()

    with pytest.raises(IndexError):
        reply.get()
    assert call.reply_to is reply
    assert (call.deadline, call.attempts) == (deadline, 1)


def test_conflicts_are_retried_until_they_end(
    agent: AgentRef[Scripted], storage: FaultyStorage, ticking: Runtime
) -> None:
    """However often others come first, the turn is tried again within its deadline."""
    storage.conflict_next(times=8)

    assert agent.ask(Scripted.add, 1) == 2

    assert ticking.stats().conflicts == 8


def test_conflicts_are_retried_until_the_deadline_of_the_call(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """Then the caller learns that nothing was applied (DESIGN 5, Conflict)."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add, 1)
    storage.conflict_next(times=100)

    reply = agent.options(timeout=5).submit(Scripted.add, 1)
    for n in range(1, 5):
        watch.wait(ConflictDetected, n)
        clock.pass_backoff(1)
    watch.wait(ConflictDetected, 5)
    assert not reply.done
    clock.pass_backoff(1)
    wait_for(reply)

    with pytest.raises(ConflictError) as raised:
        reply.get()
    assert raised.value.outcome == "not_applied"
    assert saved_count(storage, agent) == 1


def test_conflicts_are_retried_for_half_a_minute_at_most(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """A call without a deadline does not try for ever (DESIGN 5, Conflict)."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add, 1)
    storage.conflict_next(times=100)

    reply = agent.options(timeout=None).submit(Scripted.add, 1)
    watch.wait(ConflictDetected, 1)
    clock.pass_backoff(29)
    watch.wait(ConflictDetected, 2)
    clock.pass_backoff(1)

    with pytest.raises(ConflictError):
        reply.get()


def test_a_conflict_is_reported(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted]
) -> None:
    """The event says which revision was expected and found, and that nothing was lost."""
    watch = Watch(ticking)
    other_process_adds(other, 10)

    agent.ask(Scripted.add, 1)

    [event] = watch.of(ConflictDetected)
    assert (event.expected, event.found, event.lost_turns) == (1, 2, 0)
    assert [thawed.rev for thawed in watch.of(Thawed)] == [2]


def test_a_conflict_while_hibernating_runs_the_hook_again(
    storage: FaultyStorage, other: Runtime
) -> None:
    """``on_hibernate`` is no exception: its changes are made anew on the newest state (HC-4)."""
    hooks: list[int] = []

    class Tidy(Scripted, kind="scripted"):
        def on_hibernate(self) -> None:
            hooks.append(self.count)
            self.write("good night")

    with Runtime(storage) as runtime:
        agent = runtime.get(Tidy, "a")
        agent.ask(Tidy.add, 1)
        other_process_adds(other, 10)

        agent.hibernate()

        assert hooks == [1, 11]
        assert agent.status().state == "asleep"
        assert agent.ask(Tidy.do, lambda me: (me.count, me.log)) == (11, ("good night",))


def test_a_conflict_while_deleting_deletes_the_newest(
    other: Runtime, agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """A deletion is a turn: it runs again like any other."""
    other_process_adds(other, 10)

    agent.delete()

    assert saved_count(storage, agent) is None
    assert agent.ask(Scripted.read) == 0


def test_an_async_turn_runs_again_too(other: Runtime, agent: AgentRef[Scripted]) -> None:
    """Async handlers are run again on the newest state like all others."""
    other_process_adds(other, 10)

    async def add(me: Scripted) -> int:
        me.count += 1
        return me.count

    assert agent.ask(Scripted.do_async, add) == 12


def test_the_storage_is_never_overwritten(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted]
) -> None:
    """Two runtimes that write in turns lose no update (W-19)."""
    here, there = agent, other.get(Scripted, "a")
    for _ in range(10):
        here.ask(Scripted.add, 1)
        there.ask(Scripted.add, 1)

    assert here.options(fresh=True).ask(Scripted.read) == 21
    assert ticking.stats().conflicts + other.stats().conflicts >= 18
