"""Another process has written the agent since it was thawed."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import PATIENCE, Gate, Scripted, Watch, run_all_queued, saved_count, wait_for
from torpor import (
    Agent,
    ConflictDetected,
    ConflictError,
    CorruptRecordError,
    DeadLetter,
    Runtime,
    Thawed,
    TorporError,
    command,
)
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.kit import ObservedClock
    from torpor.ref import AgentRef
    from torpor.storage import Storage


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


@pytest.fixture
def agent(ticking: Runtime) -> AgentRef[Scripted]:
    """Return an agent that is awake and stored."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add, 1)
    return agent


def other_process_adds(other: Runtime, n: int) -> None:
    """Change the agent behind the runtime's back, on the newest state."""
    ref = other.get(Scripted, "a").options(fresh=True)
    ref.ask(Scripted.add, n)


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


def test_a_turn_that_changes_nothing_may_answer_from_a_replaced_state(
    other: Runtime, agent: AgentRef[Scripted]
) -> None:
    """Several processes are safe, not coherent (DESIGN 5, Several processes)."""
    other_process_adds(other, 10)

    assert agent.ask(Scripted.read) == 1


def test_fresh_compares_the_revision_first(
    ticking: Runtime, other: Runtime, agent: AgentRef[Scripted]
) -> None:
    """``options(fresh=True)`` sees what other processes wrote (DESIGN 5, Several processes)."""
    watch = Watch(ticking)
    fresh = agent.options(fresh=True)

    assert fresh.ask(Scripted.read) == 1
    assert watch.of(Thawed) == []

    other_process_adds(other, 10)
    assert fresh.ask(Scripted.read) == 11
    assert len(watch.of(Thawed)) == 1


def test_fresh_reads_the_thread_anew_too(other: Runtime, agent: AgentRef[Scripted]) -> None:
    """Of a replaced copy nothing is left, not even what it knew of its thread."""
    agent.ask(Scripted.note, "mine")
    assert agent.ask(Scripted.notes) == ["mine"]
    other.get(Scripted, "a").ask(Scripted.note, "other")

    assert agent.options(fresh=True).ask(Scripted.notes) == ["mine", "other"]
    assert agent.ask(Scripted.note, "again") == 3


def test_fresh_waits_for_what_is_unsaved(
    other: Runtime, agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """A copy with turns that are not saved yet is not replaced under them."""
    with storage.hang_next("commit") as hang:
        writing = agent.submit(Scripted.add, 1)
        assert hang.entered.wait(PATIENCE)
        reading = agent.options(fresh=True).submit(Scripted.read)
        other_process_adds(other, 10)

    assert (writing.get(), reading.get()) == (12, 12)


def test_fresh_sees_that_the_agent_was_deleted(other: Runtime, agent: AgentRef[Scripted]) -> None:
    """An agent that another process deleted is a fresh one."""
    other.get(Scripted, "a").delete()

    assert agent.options(fresh=True).ask(Scripted.read) == 0


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


class Diary(Agent):
    """Reads its thread from the storage."""

    pages: int = 0

    def write(self) -> int:
        """Write a page."""
        self.pages += 1
        self.thread.append("page", self.pages)
        return self.pages

    def trim(self) -> None:
        """Keep the last page only."""
        self.thread.trim(self.thread.rev - 1)

    def rev(self) -> int:
        """Return how many pages were ever written, which its record tells."""
        return self.thread.rev

    def pages_kept(self) -> list[int]:
        """Return all pages that are there."""
        return [entry.payload for entry in self.thread.entries()]

    def pages_kept_or_none(self) -> list[int]:
        """Take any error for an empty diary."""
        try:
            return self.pages_kept()
        except TorporError:
            return []


@pytest.mark.parametrize("read", [Diary.pages_kept, Diary.pages_kept_or_none])
def test_a_thread_that_is_gone_from_under_an_old_copy_is_no_damage(
    any_storage: Storage, read: Callable[[Diary], list[int]]
) -> None:
    """A turn that finds its thread deleted or trimmed by another process runs on the newest."""
    with Runtime(any_storage) as runtime, Runtime(any_storage) as other:
        mine, theirs = runtime.get(Diary, "a"), other.get(Diary, "a")
        for _ in range(3):
            mine.ask(Diary.write)
        assert theirs.ask(Diary.rev) == 3  # thawed; the entries are still to be read
        mine.ask(Diary.trim)

        assert theirs.ask(read) == [3]

        theirs.hibernate()
        assert theirs.ask(Diary.rev) == 3
        mine.delete()
        mine.ask(Diary.write)

        assert theirs.ask(read) == [1]


def test_damage_of_a_thread_is_told_as_damage(any_storage: Storage) -> None:
    """Entries that are missing though nobody else wrote are a CorruptRecordError, no conflict."""
    with FaultyStorage(any_storage) as storage, Runtime(storage) as runtime:
        diary = runtime.get(Diary, "a")
        diary.ask(Diary.write)
        diary.hibernate()
        storage.fail_next("read_entries", error=CorruptRecordError("diary/a", "made up"))

        with pytest.raises(CorruptRecordError):
            diary.ask(Diary.pages_kept)
        assert runtime.stats().conflicts == 0
