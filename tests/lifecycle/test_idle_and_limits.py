"""When agents leave memory by themselves, and what keeps them there."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.kit import (
    PATIENCE,
    Gate,
    Late,
    LifeClock,
    Rests,
    Scripted,
    Watch,
    begin,
    done,
    hooked,
    note_submissions,
    result,
    running,
    saved_count,
)
from torpor import Hibernated, HibernationReason, Runtime, SaveFailed, Thawed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage import Record
    from torpor.storage.errors import StorageError
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage

IDLE = 60.0


class Brief(Scripted, idle_timeout=5):
    """Sleeps sooner than the others."""


def awake(runtime: Runtime) -> list[str]:
    """Return the keys of all agents in memory."""
    return sorted(ref.key for ref in runtime.live())


# -- what counts as idle ----------------------------------------------------------------------


def test_the_class_says_how_long(runtime: Runtime, clock: LifeClock) -> None:
    """A class's own idle timeout wins over the runtime's (DESIGN 5, Idle)."""
    runtime.get(Brief, "brief").ask(Brief.read)
    runtime.get(Scripted, "long").ask(Scripted.read)

    clock.pass_time(5)

    assert awake(runtime) == ["long"]


def test_idleness_uses_the_monotonic_clock(runtime: Runtime, clock: LifeClock) -> None:
    """The wall clock puts nobody to sleep and keeps nobody awake (DESIGN 5, Idle, HC-19)."""
    runtime.get(Scripted, "a").ask(Scripted.read)

    clock.set_time(clock.time() + 1e9)
    clock.pass_time(IDLE - 1)
    assert awake(runtime) == ["a"]
    clock.set_time(0)
    clock.pass_time(1)

    assert awake(runtime) == []


def test_an_agent_that_awaits_is_not_idle(
    runtime: Runtime, clock: LifeClock, watch: Watch, rests: Rests
) -> None:
    """A turn that runs keeps its agent awake however long; its end starts the clock (HC-12)."""
    agent = runtime.get(Scripted, "a").options(timeout=None)
    gate = Gate()

    async def long(me: Scripted) -> int:
        await asyncio.to_thread(gate.pass_through)
        return me.count

    reply = agent.submit(Scripted.do_async, long)
    gate.wait_for_entry()
    clock.pass_time(10 * IDLE)
    assert awake(runtime) == ["a"]
    with rests.one_more(agent):
        gate.open()
    assert result(reply) == 0

    clock.pass_time(IDLE - 1)
    assert awake(runtime) == ["a"]
    assert watch.of(Hibernated) == []


def test_an_unsaved_agent_is_not_idle(
    runtime: Runtime, clock: LifeClock, watch: Watch, rests: Rests, storage: FaultyStorage
) -> None:
    """Nobody hibernates while a save of theirs is under way; its end starts the clock."""
    agent = runtime.get(Scripted, "a").options(timeout=None)
    agent.ask(Scripted.read)
    runtime.manager.commits._deadline = 1e9
    with rests.one_more(agent), storage.hang_next("commit") as hang:
        reply = agent.submit(Scripted.add)
        assert hang.entered.wait(PATIENCE)
        clock.pass_time(2 * IDLE)
        assert awake(runtime) == ["a"]
    assert result(reply) == 1

    clock.pass_time(IDLE - 1)
    assert awake(runtime) == ["a"]
    assert watch.of(Hibernated) == []
    clock.pass_time(1)
    assert [event.reason for event in watch.wait(Hibernated)] == [HibernationReason.IDLE]
    assert saved_count(storage, agent) == 1


def test_attached_agents_stay_beyond_their_turns(runtime: Runtime, clock: LifeClock) -> None:
    """As many attachments, so many detachments, whoever holds the reference (DESIGN 5, Idle)."""
    refs = [runtime.get(Scripted, "a") for _ in range(3)]
    refs[0].ask(Scripted.read)

    with ExitStack() as first, ExitStack() as rest:
        first.enter_context(refs[0].attached())
        rest.enter_context(refs[1].attached())
        rest.enter_context(refs[2].attached())
        first.close()
        clock.pass_time(2 * IDLE)
        assert refs[0].status().attached == 2
        assert awake(runtime) == ["a"]

    clock.pass_time(IDLE)
    assert awake(runtime) == []


# -- a message that arrives while the agent hibernates ----------------------------------------


@pytest.mark.parametrize("reason", [HibernationReason.IDLE, HibernationReason.EVICTED])
def test_a_message_during_on_hibernate_keeps_the_agent_awake(
    storage: FaultyStorage, clock: LifeClock, reason: HibernationReason
) -> None:
    """An agent that is spoken to while it falls asleep stays awake (DESIGN 5, Idle, HC-2)."""
    gate = Gate()
    cls = hooked(lambda _: gate.pass_through())
    with running(storage, clock=clock, idle_timeout=IDLE, max_live=1) as runtime:
        watch = Watch(runtime)
        agent = runtime.get(cls, "a")
        agent.ask(cls.add)
        if reason is HibernationReason.IDLE:
            clock.pass_time(IDLE)
        else:
            runtime.get(Scripted, "other").tell(Scripted.read)
        gate.wait_for_entry()

        reply = agent.options(timeout=None).submit(cls.add)
        gate.open()

        assert result(reply) == 2
        assert [event.agent for event in watch.of(Thawed)].count(agent.address) == 1


def test_a_message_during_the_commit_of_a_hibernation_keeps_the_agent_awake(
    runtime: Runtime, clock: LifeClock, watch: Watch, storage: FaultyStorage
) -> None:
    """Until its last save is done, an agent that falls asleep can be kept awake."""
    cls = hooked(lambda me: me.write("bye"))
    agent = runtime.get(cls, "a")
    agent.ask(cls.add)
    with storage.hang_next("commit") as hang:
        clock.pass_time(IDLE)
        assert hang.entered.wait(PATIENCE)
        assert agent.status().state == "hibernating"
        reply = agent.options(timeout=None).submit(cls.add)

    assert result(reply) == 2
    assert watch.of(Hibernated) == []
    assert agent.ask(cls.do, lambda me: me.log) == ("bye",)
    assert agent.status().state == "live"


def test_a_message_during_a_requested_hibernation_wakes_the_agent_again(
    runtime: Runtime, storage: FaultyStorage, watch: Watch
) -> None:
    """Whom a user sends to sleep sleeps; the message behind it thaws the agent (HC-1)."""
    cls = hooked(lambda me: me.write("bye"))
    agent = runtime.get(cls, "a").options(timeout=None)
    agent.ask(cls.add)
    with storage.hang_next("commit") as hang:
        hibernating = begin(agent.hibernate)
        assert hang.entered.wait(PATIENCE)
        reply = agent.submit(cls.add)

    done(hibernating)
    assert result(reply) == 2
    assert [event.reason for event in watch.of(Hibernated)] == [HibernationReason.REQUESTED]
    assert [event.fresh for event in watch.of(Thawed)] == [True, False]


def test_a_message_that_waits_prevents_an_idle_hibernation(
    runtime: Runtime, clock: LifeClock, watch: Watch
) -> None:
    """A message that came before the timer ran is handled, and nobody hibernates (HC-2)."""
    agent = runtime.get(Scripted, "a").options(timeout=None)
    agent.ask(Scripted.read)
    gate = Gate()
    running_turn = agent.submit(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    behind = agent.submit(Scripted.add)
    clock.pass_time(IDLE)
    gate.open()

    result(running_turn)
    assert result(behind) == 1
    assert watch.of(Hibernated) == []


def test_a_conflict_while_hibernating_leaves_a_working_agent(
    ticking: Runtime, storage: FaultyStorage
) -> None:
    """A hook's change that conflicts is neither lost trouble nor the end of the agent (HC-4)."""
    cls = hooked(lambda me: me.write("bye"))
    agent = ticking.get(cls, "a")
    agent.ask(cls.add)
    storage.conflict_next()

    done(begin(agent.hibernate))

    assert agent.submit(cls.add).get(timeout=PATIENCE) == 2
    done(begin(lambda: ticking.stop(5)))
    assert saved_count(storage, agent) == 2


# -- max_live ---------------------------------------------------------------------------------


def test_the_least_recently_used_go_first(storage: FaultyStorage, clock: LifeClock) -> None:
    """Beyond ``max_live`` those hibernate that were longest at rest, of all classes (HC-26)."""
    with running(storage, clock=clock, idle_timeout=IDLE, max_live=3) as runtime:
        watch = Watch(runtime)
        classes: list[type[Scripted]] = [Scripted, Brief, Scripted]
        for cls, key in zip(classes, "abc", strict=True):
            runtime.get(cls, key).ask(cls.read)
            clock.pass_time(1)
        runtime.get(Scripted, "a").ask(Scripted.read)
        clock.pass_time(1)

        runtime.get(Scripted, "d").ask(Scripted.read)
        assert awake(runtime) == ["a", "c", "d"]
        runtime.get(Scripted, "c").touch()
        clock.pass_time(1)
        runtime.get(Scripted, "e").ask(Scripted.read)

        assert awake(runtime) == ["c", "d", "e"]
        reasons = {event.reason for event in watch.of(Hibernated)}
        assert reasons == {HibernationReason.EVICTED}


def test_running_agents_are_beyond_the_limit(storage: FaultyStorage) -> None:
    """``max_live`` is soft: who runs stays, and goes once at rest (DESIGN 5, Idle, HC-26)."""
    with running(storage, max_live=1) as runtime:
        gate = Gate()
        refs = [runtime.get(Scripted, key) for key in "abc"]
        replies = [ref.submit(Scripted.do, lambda _: gate.pass_through()) for ref in refs]
        gate.wait_for_entry()
        assert awake(runtime) == ["a", "b", "c"]
        watch = Watch(runtime)
        gate.open()
        for reply in replies:
            reply.get(timeout=PATIENCE)

        assert len(watch.wait(Hibernated, 2)) == 2
        assert runtime.stats().live == 1


def test_unsaved_agents_are_beyond_the_limit(storage: FaultyStorage) -> None:
    """Who waits for a save is not evicted; who is saved, is (DESIGN 5, Idle)."""
    with running(storage, max_live=1) as runtime:
        watch = Watch(runtime)
        agent, other = runtime.get(Scripted, "a"), runtime.get(Scripted, "other")
        agent.ask(Scripted.read)
        with storage.hang_next("commit") as hang:
            reply = agent.submit(Scripted.add)
            assert hang.entered.wait(PATIENCE)
            other.ask(Scripted.read)
            assert agent.status().unsaved
            assert agent.address in [ref.address for ref in runtime.live()]
        assert reply.get(timeout=PATIENCE) == 1

        assert watch.wait(Hibernated)
        assert saved_count(storage, agent) == 1


def test_attached_agents_are_beyond_the_limit(storage: FaultyStorage) -> None:
    """Attached agents are never evicted; the last detachment makes them like all others."""
    with running(storage, max_live=1) as runtime:
        watch = Watch(runtime)
        agent, other = runtime.get(Scripted, "a"), runtime.get(Scripted, "other")
        with agent.attached():
            agent.ask(Scripted.read)
            other.ask(Scripted.read)
            assert "a" in awake(runtime)
        runtime.get(Scripted, "third").ask(Scripted.read)

        assert agent.address in [event.agent for event in watch.wait(Hibernated, 2)]
        assert runtime.stats().live == 1


def test_eviction_saves_what_was_answered_already(storage: FaultyStorage) -> None:
    """An agent that is saved at hibernation can be evicted, and is saved then."""
    with running(storage, max_live=1) as runtime:
        watch = Watch(runtime)
        agent = runtime.get(Late, "a")
        agent.ask(Late.add, 7)
        other = runtime.get(Scripted, "other")
        with other.attached():
            other.ask(Scripted.read)
            assert watch.wait(Hibernated) == [Hibernated(agent.address, HibernationReason.EVICTED)]
        assert saved_count(storage, agent) == 7


def test_who_cannot_be_saved_is_tried_once(memory: MemoryStorage, clock: LifeClock) -> None:
    """A state that the storage refuses stays in memory, and is not sent over and over."""
    memory.max_document_bytes = 1000
    with running(memory, clock=clock, idle_timeout=IDLE, max_live=1) as runtime:
        watch = Watch(runtime)
        agent, other = runtime.get(Late, "a"), runtime.get(Scripted, "other")
        agent.ask(Late.write, "y" * 5000)
        clock.pass_time(IDLE)
        watch.wait(SaveFailed)
        with other.attached():
            other.ask(Scripted.read)
            agent.ask(Late.read)
            clock.pass_time(IDLE)

            assert agent.status().state != "asleep"
            assert len(watch.of(SaveFailed)) == 1
            agent.ask(Late.do, lambda me: setattr(me, "log", ()))
            agent.ask(Late.add)
            watch.wait(Hibernated)
        assert saved_count(memory, agent) == 1


def test_a_thaw_for_a_running_turn_waits_for_no_cap(storage: FaultyStorage) -> None:
    """Turns that call each other get their agents thawed, however many are awake."""
    with running(storage, max_live=1, max_thaws=1, max_workers=16) as runtime:
        refs = [runtime.get(Scripted, str(n)) for n in range(8)]

        def call_next(depth: int) -> int:
            if depth == len(refs):
                return 0
            below: int = refs[depth].ask(Scripted.do, lambda _: call_next(depth + 1))
            return below + 1

        assert begin(lambda: call_next(0)).result(PATIENCE) == 8


def test_a_thaw_for_a_running_turn_waits_for_no_slot(
    storage: FaultyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes with the next batch of reads, ahead of those that wait for a slot."""
    reads: list[str] = []
    read = storage.read

    def noted(keys: Sequence[str]) -> list[Record | StorageError | None]:
        reads.extend(keys)
        return read(keys)

    monkeypatch.setattr(storage, "read", noted)
    with running(storage, max_thaws=1) as runtime:
        arrived = note_submissions(runtime.manager.loads, monkeypatch, *"123", "callee")
        caller, callee = runtime.get(Scripted, "caller"), runtime.get(Scripted, "callee")
        caller.ask(Scripted.read)
        with storage.hang_next("read") as hang:
            others = [runtime.get(Scripted, "0").submit(Scripted.read)]
            assert hang.entered.wait(PATIENCE)
            others += [runtime.get(Scripted, key).submit(Scripted.read) for key in "123"]
            for key in "123":
                assert arrived[key].wait(PATIENCE)
            reply = caller.submit(Scripted.do, lambda _: callee.submit(Scripted.read).get())
            assert arrived["callee"].wait(PATIENCE)

        assert reply.get(timeout=PATIENCE) == 0
        for other in others:
            other.get(timeout=PATIENCE)
        assert reads[:3] == ["scripted/caller", "scripted/0", "scripted/callee"]
