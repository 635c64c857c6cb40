"""``ref.delete()``: a turn that removes checkpoint and thread in one change."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.kit import (
    PATIENCE,
    Gate,
    Late,
    LifeClock,
    Scripted,
    Watch,
    begin,
    done,
    note_submissions,
    result,
    running,
    saved_count,
)
from torpor import (
    BlockingCallError,
    CallCycleError,
    Hibernated,
    RecordTooLargeError,
    Runtime,
    SaveFailed,
    Thawed,
)

if TYPE_CHECKING:
    from torpor import Reply
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage


class Fleeting(Scripted, durability="none"):
    """Is never saved."""


@pytest.fixture
def agent(runtime: Runtime) -> AgentRef[Scripted]:
    """Return an agent with a state and a thread, both stored."""
    agent = runtime.get(Scripted, "a").options(timeout=None)
    agent.ask(Scripted.add, 5)
    agent.ask(Scripted.note, "one")
    return agent


def test_checkpoint_and_thread_go_in_one_change(
    agent: AgentRef[Scripted], storage: FaultyStorage
) -> None:
    """A delete is a single change, compared with the revision (DESIGN 5, Delete)."""
    record = storage.get_checkpoint(agent.address)
    assert record is not None
    assert record.thread is not None
    storage.batches.clear()

    agent.delete()

    [[change]] = storage.batches
    assert (change.key, change.delete, change.expected_rev) == (agent.address, True, 2)
    assert storage.get_checkpoint(agent.address) is None
    assert storage.thread_head(record.thread.id) is None


def test_messages_behind_it_meet_a_fresh_agent(agent: AgentRef[Scripted], watch: Watch) -> None:
    """What was sent before is still done by the old agent, what comes later by a new one."""
    gate = Gate()

    async def scenario() -> list[object]:
        held = agent.submit(Scripted.do, lambda _: gate.pass_through())
        before = agent.submit(Scripted.add)
        deleting = asyncio.ensure_future(agent.adelete())
        await asyncio.sleep(0)  # it is sent now
        behind: list[Reply[Any]] = [agent.submit(Scripted.add), agent.submit(Scripted.notes)]
        gate.open()
        await held
        await deleting
        return [await before, await behind[0], await behind[1]]

    answers = asyncio.run(asyncio.wait_for(scenario(), PATIENCE))

    assert answers == [6, 1, []]
    assert [(event.fresh, event.rev) for event in watch.of(Thawed)] == [(True, 0)]


def test_a_sleeper_can_be_deleted(
    agent: AgentRef[Scripted], storage: FaultyStorage, runtime: Runtime
) -> None:
    """It need not be awake, nor does it stay so."""
    agent.hibernate()

    agent.delete()

    assert saved_count(storage, agent) is None
    assert runtime.live() == []
    assert agent.ask(Scripted.add) == 1


def test_a_deleted_agent_leaves_memory(
    agent: AgentRef[Scripted], runtime: Runtime, watch: Watch
) -> None:
    """Nothing of it stays awake, and it has not hibernated."""
    agent.delete()

    assert runtime.lookup(Scripted, "a") is None
    assert agent.status().state == "asleep"
    assert watch.of(Hibernated) == []


def test_the_fresh_agent_has_its_initial_state(runtime: Runtime) -> None:
    """After a delete ``initial`` is what an agent begins with, as at its first birth."""
    agent = runtime.get(Scripted, "a", initial={"count": 10})
    agent.ask(Scripted.add)

    agent.delete()

    assert agent.ask(Scripted.add) == 11


def test_what_was_not_saved_yet_is_gone_too(runtime: Runtime, storage: FaultyStorage) -> None:
    """A delete leaves nothing to save later."""
    agent = runtime.get(Late, "a")
    agent.ask(Late.add)

    agent.delete()

    agent.hibernate()
    assert saved_count(storage, agent) is None
    assert agent.ask(Late.read) == 0


def test_who_is_never_stored_is_deleted_in_memory(runtime: Runtime, storage: FaultyStorage) -> None:
    """With ``durability="none"`` a delete asks nothing of the storage."""
    agent = runtime.get(Fleeting, "a")
    agent.ask(Fleeting.add)

    agent.delete()

    assert agent.ask(Fleeting.add) == 1
    assert storage.calls == {}


def test_a_delete_waits_for_the_storage(
    agent: AgentRef[Scripted], storage: FaultyStorage, clock: LifeClock, watch: Watch
) -> None:
    """While the storage is away the delete is sent again, and the messages behind it wait."""
    storage.fail_next("commit", times=2)
    deleting = begin(agent.delete)
    watch.wait(SaveFailed)
    reply = agent.submit(Scripted.add)
    clock.pass_backoff()
    watch.wait(SaveFailed, 2)
    assert saved_count(storage, agent) == 5
    clock.pass_backoff()

    done(deleting)
    assert result(reply) == 1


def test_an_agent_cannot_wait_for_its_own_deletion(agent: AgentRef[Scripted]) -> None:
    """A turn that deletes its own agent would wait for itself, and is told so."""
    with pytest.raises(CallCycleError):
        result(agent.submit(Scripted.do, lambda me: me.ref.delete()))

    assert agent.ask(Scripted.read) == 5


def test_on_an_event_loop_it_is_awaited(ticking: Runtime, storage: FaultyStorage) -> None:
    """``delete`` refuses to block a loop and names ``adelete``, which does the same."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add)

    async def delete() -> None:
        with pytest.raises(BlockingCallError, match="adelete"):
            agent.delete()
        await asyncio.wait_for(agent.adelete(), PATIENCE)

    asyncio.run(delete())

    assert saved_count(storage, agent) is None


def test_a_delete_in_a_turn_waits_for_earlier_turns(
    runtime: Runtime, agent: AgentRef[Scripted], storage: FaultyStorage, clock: LifeClock
) -> None:
    """It is a call that leaves the turn: not before all earlier turns are durable."""
    caller = runtime.get(Scripted, "caller").options(timeout=None)
    caller.ask(Scripted.read)
    watch = Watch(runtime)
    storage.fail_next("commit", keys=[caller.address])
    first = caller.submit(Scripted.add)
    watch.wait(SaveFailed)
    second = caller.submit(Scripted.do, lambda _: agent.options(timeout=1000).delete())
    clock.wait_for_waiter()

    assert saved_count(storage, agent) == 5
    assert not first.done
    clock.pass_backoff()

    result(second)
    assert result(first) == 1
    assert saved_count(storage, agent) is None


def test_a_delete_behind_a_save_that_was_refused_harms_no_neighbour(
    memory: MemoryStorage, storage: FaultyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state too large to save can be deleted while other agents share the lane."""
    storage.max_document_bytes = memory.max_document_bytes = 1000
    with running(storage) as runtime:
        agent = runtime.get(Late, "a")
        neighbour, other = runtime.get(Scripted, "b"), runtime.get(Scripted, "c")
        neighbour.ask(Scripted.add)
        agent.ask(Late.write, "y" * 5000)
        with pytest.raises(RecordTooLargeError):
            agent.hibernate()

        arrived = note_submissions(runtime.manager.commits, monkeypatch, "a")

        async def scenario() -> list[object]:
            with storage.hang_next("commit") as hang:
                other_reply = other.submit(Scripted.add)
                assert hang.entered.wait(PATIENCE)
                innocent = neighbour.submit(Scripted.add)
                deleting = asyncio.ensure_future(agent.adelete())
                await asyncio.sleep(0)  # it is sent now
                assert arrived["a"].wait(PATIENCE)
            await deleting
            return [await other_reply, await innocent]

        assert asyncio.run(asyncio.wait_for(scenario(), PATIENCE)) == [1, 2]
        assert saved_count(storage, agent) is None
        assert agent.ask(Late.read) == 0
