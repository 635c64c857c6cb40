"""What a stop leaves: turns that were not saved, handlers that will not end, and who waits."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import PATIENCE, Gate, Scripted, Watch, run_all_queued, saved_count
from torpor import (
    DeadLetter,
    Runtime,
    RuntimeStoppedError,
    SaveError,
    StopError,
    StorageClosedError,
    TurnCancelledError,
)
from torpor.activation import Activation
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.calls import Call
    from torpor.storage.memory import MemoryStorage
    from torpor.turn import Turn


class Lazy(Scripted, durability="hibernate"):
    """Saved when it leaves memory."""


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Return a gate that is open after the test."""
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait long for what will not end: nothing else is left to do in the test."""
    monkeypatch.setattr("torpor.stop._GRACE", 0.05)
    monkeypatch.setattr("torpor.loops._PATIENCE", 0.05)


@pytest.mark.usefixtures("impatient")
def test_endless_chatter_ends_with_the_drain_time(memory: MemoryStorage) -> None:
    """Two agents that keep each other busy don't keep the runtime from stopping."""
    runtime = Runtime(memory)
    watch = Watch(runtime)

    def chat(me: Scripted) -> None:
        me.count += 1
        runtime.get(Scripted, "b" if me.id == "a" else "a").tell(Scripted.do, chat)

    runtime.get(Scripted, "a").tell(Scripted.do, chat)

    runtime.stop(drain_timeout=0.05)

    [letter] = watch.of(DeadLetter)
    assert isinstance(letter.error, RuntimeStoppedError)


def test_a_tell_that_meets_the_end_is_refused_once(
    memory: MemoryStorage, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender is told; so it is not left in the mailbox, where it would be refused again."""
    runtime = Runtime(memory)
    watch = Watch(runtime)
    agent = runtime.get(Scripted, "a")
    agent.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    admit = Activation.admit

    def admit_at_the_end(self: Activation, call: Call, *, inline: bool) -> bool | None:
        admitted = admit(self, call, inline=inline)
        runtime.manager.refusing = "the end"
        return admitted

    monkeypatch.setattr(Activation, "admit", admit_at_the_end)
    with pytest.raises(RuntimeStoppedError, match="the end"):
        agent.tell(Scripted.add)
    monkeypatch.undo()
    gate.open()
    runtime.stop()

    assert watch.of(DeadLetter) == []


@pytest.mark.usefixtures("impatient")
def test_who_waits_for_a_stuck_handler_is_told(memory: MemoryStorage, gate: Gate) -> None:
    """Nothing of its turn will be kept: its caller need not wait for its end (DESIGN 5, Stop)."""
    runtime = Runtime(memory)

    def stick(me: Scripted) -> None:
        me.count = 99
        gate.pass_through()

    stuck = runtime.get(Scripted, "a").submit(Scripted.do, stick)
    gate.wait_for_entry()

    with pytest.raises(StopError):
        runtime.stop(drain_timeout=0.01)

    assert stuck.done
    with pytest.raises(RuntimeStoppedError) as refused:
        stuck.get()
    assert refused.value.outcome == "not_applied"


@pytest.mark.usefixtures("impatient")
def test_an_async_handler_that_refuses_to_be_cancelled_is_stuck(memory: MemoryStorage) -> None:
    """``stop`` does not wait for it for ever."""
    runtime = Runtime(memory)
    agent = runtime.get(Scripted, "a")
    begun = threading.Event()
    go_on = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def insist(_: Scripted) -> None:
        loops.append(asyncio.get_running_loop())
        begun.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    agent.submit(Scripted.do_async, insist)
    assert begun.wait(PATIENCE)

    with pytest.raises(StopError) as raised:
        runtime.stop(drain_timeout=0.01)

    assert raised.value.stuck == (agent.address,)


@pytest.mark.parametrize("before", [0, 1])
def test_an_async_handler_that_begins_after_the_others_were_cancelled_is_too(
    memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """A worker was about to start it, as the first or not: nobody waits for its end (HC-14)."""
    runtime = Runtime(memory)
    agent, loops = runtime.get(Scripted, "a"), runtime.manager.loops
    gate, start, cancel_all = Gate(), loops.start, loops.cancel_all

    async def hold(me: Scripted) -> None:
        me.count = 99
        await asyncio.Event().wait()

    async def add(me: Scripted) -> None:
        me.count += 1

    def start_late(activation: Activation, turn: Turn) -> None:
        gate.pass_through()
        start(activation, turn)

    def cancel_before() -> None:
        cancel_all()
        cancelled = threading.Event()
        loops._require_loop().call_soon_threadsafe(cancelled.set)
        assert cancelled.wait(PATIENCE)
        gate.open()

    agent.ask(Scripted.add)
    for _ in range(before):
        agent.submit(Scripted.do_async, add).get()
    monkeypatch.setattr(loops, "start", start_late)
    monkeypatch.setattr(loops, "cancel_all", cancel_before)
    reply = agent.options(timeout=None).submit(Scripted.do_async, hold)
    gate.wait_for_entry()

    runtime.stop(drain_timeout=0.01)

    with pytest.raises(TurnCancelledError):
        reply.get()
    assert saved_count(memory, agent) == 1 + before


def test_what_can_never_be_saved_does_not_use_up_the_drain_time(storage: FaultyStorage) -> None:
    """An agent whose state is too large is given up at once, and named."""
    storage.max_document_bytes = 200
    runtime = Runtime(storage)
    good, bad = runtime.get(Lazy, "good"), runtime.get(Lazy, "bad")
    good.ask(Lazy.add)
    bad.ask(Lazy.write, "x" * 300)

    with pytest.raises(StopError) as raised:
        runtime.stop(drain_timeout=3600)

    assert list(raised.value.unsaved) == [bad.address]
    assert saved_count(storage, good) == 1


@pytest.mark.usefixtures("impatient")
def test_callers_of_unsaved_turns_are_told(storage: FaultyStorage) -> None:
    """Nobody is left to send the change again: who waits for it learns that it is unknown."""
    runtime = Runtime(storage)
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.read)
    storage.disconnect()
    reply = agent.options(timeout=None).submit(Scripted.add)
    run_all_queued(agent)

    with pytest.raises(StopError):
        runtime.stop(drain_timeout=0.05)

    assert reply.done
    with pytest.raises(SaveError) as raised:
        reply.get()
    assert raised.value.outcome == "unknown"


@pytest.mark.usefixtures("impatient")
def test_a_storage_that_was_closed_too_early_is_told(memory: MemoryStorage) -> None:
    """Closing the storage under a runtime loses what is unsaved, and says so, at once (HC-15)."""
    storage = FaultyStorage(memory)
    runtime = Runtime(storage)
    runtime.get(Lazy, "a").ask(Lazy.add)
    storage.close()

    with pytest.raises(StopError) as raised:
        runtime.stop(drain_timeout=0.05)

    assert {type(error) for error in raised.value.unsaved.values()} == {StorageClosedError}


@pytest.mark.usefixtures("impatient")
def test_the_body_s_exception_is_kept_in_async_code(storage: FaultyStorage) -> None:
    """The same with ``async with``."""
    error = LookupError("the body's")

    async def body() -> None:
        async with Runtime(storage, drain_timeout=0.05) as runtime:
            await runtime.get(Lazy, "a").submit(Lazy.add)
            storage.disconnect()
            raise error

    with pytest.raises(StopError) as raised:
        asyncio.run(body())

    assert raised.value.__context__ is error


@pytest.mark.usefixtures("impatient")
def test_who_awaits_while_the_runtime_stops_is_told(storage: FaultyStorage) -> None:
    """Nobody awaits a reply for ever that will never come."""

    async def main() -> None:
        async with Runtime(storage, drain_timeout=0.05) as runtime:
            agent = runtime.get(Scripted, "a").options(timeout=None)
            await agent.submit(Scripted.read)
            storage.disconnect()
            waiting = asyncio.ensure_future(agent.submit(Scripted.add))
            await asyncio.sleep(0)
            with pytest.raises(StopError):
                await runtime.astop()
            with pytest.raises(SaveError):
                await asyncio.wait_for(waiting, PATIENCE)

    asyncio.run(main())
