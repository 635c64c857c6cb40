"""A stop does not wait for ever: what would not end or be saved is left, and told."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.kit import (
    DRAIN,
    PATIENCE,
    Gate,
    Late,
    LifeClock,
    Scripted,
    Watch,
    begin,
    begin_stop,
    done,
    result,
    saved_count,
    stoppable,
    time_out,
)
from torpor import (
    DeadLetter,
    Hibernated,
    RecordTooLargeError,
    Runtime,
    RuntimeStoppedError,
    SaveFailed,
    StopError,
    StorageUnavailableError,
    TurnCancelledError,
)

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage

__all__ = ["stoppable"]


def test_a_stuck_handler_is_named_and_its_commit_refused(
    runtime: Runtime, clock: LifeClock, storage: FaultyStorage
) -> None:
    """It can't be killed; what it returns then is stored nowhere (DESIGN 5, Stop, HC-10, HC-14)."""
    agent, gate = runtime.get(Scripted, "a"), Gate()
    agent.ask(Scripted.add)

    def hold(me: Scripted) -> int:
        me.count = 100
        gate.pass_through()
        return me.count

    reply = agent.submit(Scripted.do, hold)
    gate.wait_for_entry()

    error = time_out(begin_stop(runtime, clock), clock)

    assert error.stuck == (agent.address,)
    assert error.unsaved == {}
    gate.open()
    with pytest.raises(RuntimeStoppedError) as caught:
        result(reply)
    assert caught.value.outcome == "not_applied"
    assert saved_count(storage, agent) == 1


def test_the_last_finished_state_of_a_stuck_agent_is_saved(
    runtime: Runtime, clock: LifeClock, storage: FaultyStorage
) -> None:
    """What its earlier turns did is not lost with the stuck one."""
    agent, gate = runtime.get(Late, "a"), Gate()
    agent.ask(Late.add, 7)

    def hold(me: Scripted) -> None:
        me.count = 100
        gate.pass_through()

    agent.tell(Late.do, hold)
    gate.wait_for_entry()

    error = time_out(begin_stop(runtime, clock), clock)

    assert error.stuck == (agent.address,)
    assert error.unsaved == {}
    assert saved_count(storage, agent) == 7
    gate.open()


def test_who_waits_behind_a_stuck_handler_is_refused(runtime: Runtime, clock: LifeClock) -> None:
    """No caller waits for ever, and no tell disappears unseen (HC-14, HC-23)."""
    agent, gate, watch = runtime.get(Scripted, "a"), Gate(), Watch(runtime)
    agent.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    queued = agent.submit(Scripted.add)
    agent.tell(Scripted.add)

    time_out(begin_stop(runtime, clock), clock)

    with pytest.raises(RuntimeStoppedError):
        result(queued)
    [letter] = watch.of(DeadLetter)
    assert (letter.agent, letter.method) == (agent.address, "add")
    assert isinstance(letter.error, RuntimeStoppedError)
    gate.open()


def test_async_handlers_are_cancelled_and_rolled_back(
    runtime: Runtime, clock: LifeClock, storage: FaultyStorage
) -> None:
    """After the drain an await ends by cancellation; state and thread are as before."""
    agent, awaiting = runtime.get(Scripted, "a"), threading.Event()
    agent.ask(Scripted.add)

    async def hold(me: Scripted) -> None:
        me.count = 100
        me.note("never")
        awaiting.set()
        await asyncio.Event().wait()

    reply = agent.submit(Scripted.do_async, hold)
    assert awaiting.wait(PATIENCE)

    stopping = begin_stop(runtime, clock)
    assert not reply.done
    clock.pass_deadline()

    done(stopping)
    with pytest.raises(TurnCancelledError):
        result(reply)
    record = storage.get_checkpoint(agent.address)
    assert record is not None
    assert (record.value["count"], record.thread) == (1, None)


def test_a_handler_that_blocks_the_loop_does_not_hold_up_the_stop(
    runtime: Runtime, clock: LifeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An async handler that never awaits is stuck like a sync one, and left alone."""
    monkeypatch.setattr("torpor.loops._PATIENCE", 0.01)
    gate, agent = Gate(), runtime.get(Scripted, "a")

    async def block(_: Scripted) -> None:
        gate.pass_through()

    agent.tell(Scripted.do_async, block)
    gate.wait_for_entry()
    loops = runtime.manager.loops
    thread, loop = loops._thread, loops._private

    error = time_out(begin_stop(runtime, clock), clock)

    assert error.stuck == (agent.address,)
    gate.open()
    assert thread is not None
    assert loop is not None
    thread.join(PATIENCE)
    loop.close()


def test_what_cannot_be_saved_is_told(
    runtime: Runtime, clock: LifeClock, storage: FaultyStorage
) -> None:
    """``unsaved`` maps addresses to the error of their last save (DESIGN 5, Stop, HC-3)."""
    watch = Watch(runtime)
    saved, unsaved = runtime.get(Scripted, "saved"), runtime.get(Late, "unsaved")
    saved.ask(Scripted.add)
    unsaved.ask(Late.add)
    storage.disconnect()
    stopping = begin_stop(runtime, clock)
    watch.wait(SaveFailed)
    watch.wait(Hibernated)

    error = time_out(stopping, clock)

    assert list(error.unsaved) == [unsaved.address]
    assert isinstance(error.unsaved[unsaved.address], StorageUnavailableError)
    assert error.stuck == ()
    assert "late/unsaved" in str(error)


def test_what_the_storage_refuses_is_told(memory: MemoryStorage) -> None:
    """A state too large to save ends the stop at once, with the storage's own error."""
    memory.max_document_bytes = 1000
    runtime = Runtime(memory)
    agent = runtime.get(Late, "a")
    agent.ask(Late.write, "y" * 5000)

    error = begin(lambda: runtime.stop(DRAIN)).exception(PATIENCE)

    assert isinstance(error, StopError)
    assert list(error.unsaved) == [agent.address]
    assert isinstance(error.unsaved[agent.address], RecordTooLargeError)
