"""Conflicts of turns that may not simply run again: what callers and neighbours get."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import threading
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
)
from torpor import ConflictError, DeadLetter, Runtime, command

if TYPE_CHECKING:
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage


class Strict(Scripted, kind="scripted"):
    """Has turns that may not be run again."""

    @command(rerun=False)
    def add_once(self, n: int = 1) -> int:
        """Change the state, once."""
        self.count += n
        return self.count

    @command(rerun=False)
    def read_once(self) -> int:
        """Change nothing, once."""
        return self.count


def test_a_turn_that_may_not_run_again_is_not_applied(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted]
) -> None:
    """``rerun=False`` gets ``ConflictError(outcome="not_applied")`` (DESIGN 5, Conflict)."""
    agent.hibernate()
    ticking.manager._registrations.clear()
    strict = ticking.get(Strict, "a")
    strict.ask(Strict.read)
    other_process_adds(other, 10)

    with pytest.raises(ConflictError) as raised:
        strict.ask(Strict.add_once, 5)

    error = raised.value
    assert (error.key, error.outcome) == (agent.address, "not_applied")
    assert strict.ask(Strict.read) == 11


def test_a_told_turn_that_may_not_run_again_is_a_dead_letter(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted]
) -> None:
    """Without a caller its fate is an event (DESIGN 6, HC-23)."""
    agent.hibernate()
    ticking.manager._registrations.clear()
    watch = Watch(ticking)
    strict = ticking.get(Strict, "a")
    strict.ask(Strict.read)
    other_process_adds(other, 10)

    strict.tell(Strict.add_once, 5)

    [letter] = watch.wait(DeadLetter)
    assert letter.method == "add_once"
    assert isinstance(letter.error, ConflictError)
    assert strict.ask(Strict.read) == 11


@pytest.mark.parametrize("way", ["ask", "submit"])
def test_a_turn_that_let_a_call_out_is_not_run_again(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted], way: str
) -> None:
    """What has had an effect elsewhere is not repeated (DESIGN 5, Conflict)."""
    runs: list[int] = []
    receiver = ticking.get(Scripted, "receiver")
    other_process_adds(other, 10)

    def call_out(me: Scripted) -> None:
        runs.append(me.count)
        me.count += 1
        if way == "ask":
            receiver.ask(Scripted.add)
        else:
            receiver.submit(Scripted.add)

    with pytest.raises(ConflictError) as raised:
        agent.ask(Scripted.do, call_out)

    assert raised.value.outcome == "not_applied"
    assert runs == [1]
    assert (receiver.ask(Scripted.read), agent.ask(Scripted.read)) == (1, 11)


def test_neighbours_of_a_turn_that_is_not_run_again_are_run_again(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """Only the turn that let a call out fails; those before and behind it succeed."""
    receiver = ticking.get(Scripted, "receiver")
    gate = Gate()

    def call_out(me: Scripted) -> None:
        receiver.submit(Scripted.add)
        gate.pass_through()
        me.count += 100

    with storage.hang_next("commit", keys=[agent.address]) as hang:
        calling = agent.submit(Scripted.do, call_out)
        gate.wait_for_entry()
        behind = agent.submit(Scripted.add, 1)
        other_process_adds(other, 10)
        gate.open()
        assert hang.entered.wait(PATIENCE)
        last = agent.submit(Scripted.add, 1)

    with pytest.raises(ConflictError):
        calling.get()
    assert (behind.get(), last.get()) == (12, 13)


def test_a_call_that_was_kept_back_is_made_by_the_second_run_alone(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """A call that never left is no reason not to run again, and is not sent twice."""
    receiver = ticking.get(Scripted, "receiver")
    entered = threading.Event()

    def call(me: Scripted) -> int:
        entered.set()
        return receiver.ask(Scripted.add, me.count)

    with storage.hang_next("commit", keys=[agent.address]) as hang:
        first = agent.submit(Scripted.add, 1)
        assert hang.entered.wait(PATIENCE)
        calling = agent.submit(Scripted.do, call)
        assert entered.wait(PATIENCE)
        other_process_adds(other, 10)

    assert first.get() == 12
    assert calling.get() == 12
    assert receiver.ask(Scripted.read) == 12


def test_held_tells_of_a_stale_run_are_not_sent(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted]
) -> None:
    """Only the run that was saved tells others."""
    receiver = ticking.get(Scripted, "receiver")
    other_process_adds(other, 10)

    def tell(me: Scripted) -> int:
        me.count += 1
        receiver.tell(Scripted.write, str(me.count))
        return me.count

    assert agent.ask(Scripted.do, tell) == 12

    assert receiver.ask(Scripted.do, lambda me: me.log) == ("12",)


def test_a_conflict_on_a_resend_is_unknown(
    ticking: Runtime, agent: AgentRef[Scripted], storage: FaultyStorage, other: Runtime
) -> None:
    """It may be that the first sending was saved and overwritten: reported, never run again."""
    runs: list[int] = []

    def add(me: Scripted) -> None:
        runs.append(me.count)
        me.count += 1

    storage.fail_next("commit", after=True)
    with storage.hang_next("commit") as hang:
        reply = agent.submit(Scripted.do, add)
        assert hang.entered.wait(PATIENCE)
        other_process_adds(other, 10)

    with pytest.raises(ConflictError) as raised:
        reply.get()
    assert raised.value.outcome == "unknown"
    assert runs == [1]
    assert agent.ask(Scripted.read) == 12
    assert ticking.stats().conflicts == 1


def test_turns_behind_an_unknown_one_are_run_again(
    agent: AgentRef[Scripted], storage: FaultyStorage, other: Runtime
) -> None:
    """Turns that were in no change yet were surely not applied: they run on the newest state."""
    storage.fail_next("commit", after=True)
    with storage.hang_next("commit") as hang:
        unknown = agent.submit(Scripted.add, 1)
        assert hang.entered.wait(PATIENCE)
        behind = agent.submit(Scripted.add, 1)
        run_all_queued(agent)
        other_process_adds(other, 10)

    with pytest.raises(ConflictError):
        unknown.get()
    assert behind.get() == 13


def test_tells_of_an_unknown_turn_are_not_sent(
    ticking: Runtime, agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """What may not have happened is not told to others."""
    receiver = ticking.get(Scripted, "receiver")
    storage.fail_next("commit")
    storage.conflict_next()

    def tell(me: Scripted) -> None:
        me.count += 1
        receiver.tell(Scripted.add)

    with pytest.raises(ConflictError):
        agent.ask(Scripted.do, tell)

    assert receiver.ask(Scripted.read) == 0


def test_a_resend_of_what_was_saved_is_no_conflict(
    agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """A change whose first sending was saved is answered as saved, once (DESIGN 4, rule 3)."""
    storage.fail_next("commit", after=True, times=3)

    assert agent.ask(Scripted.add, 1) == 2

    assert saved_count(storage, agent) == 2
    checkpoint = storage.get_checkpoint(agent.address)
    assert checkpoint is not None
    assert checkpoint.rev == 2
