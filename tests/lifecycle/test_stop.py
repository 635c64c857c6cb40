"""How a runtime stops: drain, hibernate, close, and say what could not be saved."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.kit import (
    PATIENCE,
    Gate,
    LifeClock,
    Scripted,
    Watch,
    begin,
    done,
    heal,
    result,
    running,
    saved_count,
)
from torpor import (
    BlockingCallError,
    DeadLetter,
    Hibernated,
    HibernationReason,
    RecordTooLargeError,
    Runtime,
    RuntimeStoppedError,
    SaveFailed,
    StopError,
    StorageClosedError,
    StorageUnavailableError,
    TurnCancelledError,
)
from torpor.manager import InstanceManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from torpor.activation import Activation
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage

DRAIN = 5.0


class Late(Scripted, durability="hibernate"):
    """Is saved when it hibernates."""


@pytest.fixture
def runtime(storage: FaultyStorage, clock: LifeClock) -> Iterator[Runtime]:
    """Return a runtime whose stop is the test's own business; calls never time out."""
    runtime = Runtime(storage, clock=clock, timeout=None)
    yield runtime
    heal(storage)
    runtime.manager.close()


def begin_stop(runtime: Runtime, clock: LifeClock) -> Future[None]:
    """Stop the runtime on another thread; return once it waits for turns to finish."""
    stopping = begin(lambda: runtime.stop(DRAIN))
    clock.wait_for_waiter()
    return stopping


def time_out(stopping: Future[None], clock: LifeClock) -> StopError:
    """Let the drain timeout and the time for cancelled turns pass; return what that raised."""
    clock.pass_deadline()
    clock.pass_deadline()
    error = stopping.exception(PATIENCE)
    assert isinstance(error, StopError)
    return error


# -- the drain --------------------------------------------------------------------------------


def test_queued_turns_finish(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """What was sent before the stop is still done, saved and answered (DESIGN 5, Stop, HC-14)."""
    agent, gate = runtime.get(Scripted, "a"), Gate()
    first = agent.submit(Scripted.do, lambda _: gate.pass_through())
    queued = [agent.submit(Scripted.add) for _ in range(5)]
    gate.wait_for_entry()

    stopping = begin_stop(runtime, clock)
    gate.open()

    done(stopping)
    result(first)
    assert [result(reply) for reply in queued] == [1, 2, 3, 4, 5]
    assert saved_count(storage, agent) == 5


def test_no_new_calls(runtime: Runtime, clock: LifeClock) -> None:
    """From the moment of the stop on, calls from outside are refused."""
    agent, gate = runtime.get(Scripted, "a"), Gate()
    agent.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    stopping = begin_stop(runtime, clock)

    for ref in (agent, runtime.get(Scripted, "b")):
        for call in (ref.ask, ref.submit, ref.tell):
            with pytest.raises(RuntimeStoppedError):
                call(Scripted.read)
        with pytest.raises(RuntimeStoppedError):
            ref.delete()

    gate.open()
    done(stopping)
    with pytest.raises(RuntimeStoppedError):
        agent.ask(Scripted.read)


def test_calls_of_running_turns_are_no_new_calls(
    runtime: Runtime, clock: LifeClock, storage: FaultyStorage
) -> None:
    """A turn that still runs may ask, submit and tell, sleepers too (DESIGN 5, Stop)."""
    agent, gate = runtime.get(Scripted, "a"), Gate()
    asked, submitted, told = (runtime.get(Scripted, key) for key in ("ask", "submit", "tell"))

    def call_all(me: Scripted) -> int:
        gate.pass_through()
        reply = submitted.submit(Scripted.add, 2)
        told.tell(Scripted.add, 3)
        me.count = asked.ask(Scripted.add, 1) + reply.get()
        return me.count

    reply = agent.submit(Scripted.do, call_all)
    gate.wait_for_entry()
    stopping = begin_stop(runtime, clock)
    gate.open()

    done(stopping)
    assert result(reply) == 3
    assert [saved_count(storage, ref) for ref in (agent, asked, submitted, told)] == [3, 1, 2, 3]


def test_chains_of_tells_finish(memory: MemoryStorage) -> None:
    """Agents that keep waking each other during the stop are waited for, to the last message."""
    runtime = Runtime(memory)
    watch, ended = Watch(runtime), threading.Semaphore(0)
    chains, length = 6, 50

    def hit(me: Scripted, left: int) -> None:
        me.count += 1
        if left:
            target = me.runtime.get(Scripted, str((int(me.id) + 1) % 3))
            target.tell(Scripted.do, lambda other: hit(other, left - 1))
        else:
            ended.release()

    for chain in range(chains):
        agent = runtime.get(Scripted, str(chain % 3))
        agent.tell(Scripted.do, lambda me: hit(me, length - 1))

    done(begin(lambda: runtime.stop(drain_timeout=PATIENCE)))

    assert all(ended.acquire(blocking=False) for _ in range(chains))
    assert watch.of(DeadLetter) == []
    counts = [saved_count(memory, runtime.get(Scripted, key)) for key in "012"]
    assert sum(count or 0 for count in counts) == chains * length


def test_a_call_that_races_with_the_stop_is_answered(
    memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds the runtime running and comes too late is refused, never forgotten."""
    runtime = Runtime(memory, timeout=None)
    activate, gate = InstanceManager._activate, Gate()

    def late(self: InstanceManager, ref: AgentRef[Any]) -> Activation:
        gate.pass_through()
        return activate(self, ref)

    monkeypatch.setattr(InstanceManager, "_activate", late)
    calling = begin(lambda: runtime.get(Scripted, "a").submit(Scripted.read))
    gate.wait_for_entry()
    done(begin(lambda: runtime.stop(DRAIN)))
    gate.open()

    with pytest.raises(RuntimeStoppedError):
        result(done(calling))


# -- hibernation ------------------------------------------------------------------------------


def test_everybody_hibernates(runtime: Runtime, storage: FaultyStorage) -> None:
    """At the end nobody is awake and all is saved, for the reason of the stop."""
    watch = Watch(runtime)
    refs = [runtime.get(Late, str(n)) for n in range(20)]
    for ref in refs:
        ref.ask(Late.add)

    done(begin(lambda: runtime.stop(DRAIN)))

    assert runtime.stats().live == 0
    assert [saved_count(storage, ref) for ref in refs] == [1] * 20
    assert {event.reason for event in watch.of(Hibernated)} == {HibernationReason.STOPPED}


def test_many_hibernate_at_a_time(runtime: Runtime, storage: FaultyStorage) -> None:
    """Their saves share commits (DESIGN 5, Stop)."""
    runtime.get(Scripted, "first").ask(Scripted.read)
    for n in range(100):
        runtime.get(Late, str(n)).ask(Late.add)
    with storage.hang_next("commit") as hang:
        stopping = begin(lambda: runtime.stop(DRAIN))
        assert hang.entered.wait(PATIENCE)

    done(stopping)
    assert len(storage.batches) < 50
    assert sum(len(batch) for batch in storage.batches) == 100


def test_idle_attached_agents_hibernate_too(runtime: Runtime) -> None:
    """An attachment keeps nobody awake beyond the runtime."""
    agent = runtime.get(Scripted, "a")
    with agent.attached():
        agent.ask(Scripted.add)
        done(begin(lambda: runtime.stop(DRAIN)))
    assert runtime.stats().live == 0


# -- what would not end -----------------------------------------------------------------------


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


# -- the end ----------------------------------------------------------------------------------


def test_a_storage_that_was_passed_in_stays_open(memory: MemoryStorage) -> None:
    """It is its owner's to close."""
    runtime = Runtime(memory)
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add)

    runtime.stop(DRAIN)

    assert saved_count(memory, agent) == 1


def test_a_storage_of_its_own_is_closed_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is closed, everybody has hibernated and no thread is left to use it (HC-15)."""
    runtime = Runtime("memory:")
    runtime.get(Late, "a").ask(Late.add)
    steps: list[object] = []
    Watch(runtime)
    runtime.listen(lambda event: steps.append(event.reason), Hibernated)
    close_threads, close_storage = runtime.manager.close, runtime.storage.close

    def noted_threads() -> None:
        steps.append("threads")
        close_threads()

    def noted_storage() -> None:
        steps.append("storage")
        close_storage()

    monkeypatch.setattr(runtime.manager, "close", noted_threads)
    monkeypatch.setattr(runtime.storage, "close", noted_storage)

    runtime.stop(DRAIN)

    assert steps == [HibernationReason.STOPPED, "threads", "storage"]
    with pytest.raises(StorageClosedError):
        runtime.storage.get_checkpoint("late/a")


def test_a_storage_of_its_own_is_closed_after_a_failed_stop(clock: LifeClock) -> None:
    """``StopError`` leaves nothing open."""
    runtime, gate = Runtime("memory:", clock=clock, timeout=None), Gate()
    runtime.get(Scripted, "a").tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()

    time_out(begin_stop(runtime, clock), clock)

    with pytest.raises(StorageClosedError):
        runtime.storage.get_checkpoint("scripted/a")
    gate.open()


def test_a_stop_error_is_chained_to_the_errors_of_the_body(
    storage: FaultyStorage, clock: LifeClock
) -> None:
    """Leaving the block by an error, both are seen (DESIGN 5, Stop)."""
    gate = Gate()

    def body() -> None:
        with Runtime(storage, clock=clock, timeout=None, drain_timeout=DRAIN) as runtime:
            runtime.get(Scripted, "a").tell(Scripted.do, lambda _: gate.pass_through())
            gate.wait_for_entry()
            msg = "of the body"
            raise LookupError(msg)

    leaving = begin(body)
    error = time_out(leaving, clock)

    assert error.stuck == ("scripted/a",)
    assert isinstance(error.__context__, LookupError)
    gate.open()


def test_stopping_twice_is_no_error(memory: MemoryStorage) -> None:
    """The second stop does nothing."""
    runtime = Runtime(memory)
    runtime.get(Scripted, "a").ask(Scripted.add)

    runtime.stop(DRAIN)
    runtime.stop(DRAIN)

    with pytest.raises(RuntimeStoppedError), runtime:
        pass


def test_a_second_stop_waits_for_the_first(runtime: Runtime, clock: LifeClock) -> None:
    """Whoever stops finds everything stopped when that returns."""
    gate = Gate()
    runtime.get(Scripted, "a").tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    first = begin_stop(runtime, clock)

    def stop_and_look() -> int:
        runtime.stop(DRAIN)
        return runtime.stats().live

    second = begin(stop_and_look)
    gate.open()

    done(first)
    assert done(second) == 0


def test_a_turn_does_not_stop_its_own_runtime(ticking: Runtime) -> None:
    """It would wait for itself; the runtime goes on (DESIGN 5, Stop)."""
    agent = ticking.get(Scripted, "a")

    with pytest.raises(BlockingCallError):
        agent.submit(Scripted.do, lambda me: me.runtime.stop(DRAIN)).get(timeout=PATIENCE)

    assert agent.submit(Scripted.add).get(timeout=PATIENCE) == 1


def test_a_refused_stop_can_be_repeated(memory: MemoryStorage) -> None:
    """A stop inside a turn is no stop: the real one hibernates everybody."""
    runtime = Runtime(memory)
    agent = runtime.get(Late, "a")
    with pytest.raises(BlockingCallError):
        agent.ask(Late.do, lambda me: me.runtime.stop(DRAIN))
    agent.ask(Late.add)

    done(begin(lambda: runtime.stop(DRAIN)))

    assert saved_count(memory, agent) == 1


def test_on_an_event_loop_it_is_awaited(memory: MemoryStorage) -> None:
    """``stop`` refuses to block a loop and names ``astop``, which does the same."""
    runtime = Runtime(memory)
    agent = runtime.get(Late, "a")
    agent.ask(Late.add)

    async def stop() -> None:
        with pytest.raises(BlockingCallError, match="astop"):
            runtime.stop(DRAIN)
        await asyncio.wait_for(runtime.astop(DRAIN), PATIENCE)

    asyncio.run(stop())

    assert saved_count(memory, agent) == 1


def test_workers_are_daemons(ticking: Runtime) -> None:
    """A stuck handler does not keep the process alive (DESIGN 5, Stop)."""

    def threads(_: Scripted) -> bool:
        return threading.current_thread().daemon

    async def loop_thread(_: Scripted) -> bool:
        return threading.current_thread().daemon

    agent = ticking.get(Scripted, "a")
    assert agent.submit(Scripted.do, threads).get(timeout=PATIENCE)
    assert agent.submit(Scripted.do_async, loop_thread).get(timeout=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_leaves_the_block(memory: MemoryStorage, number: signal.Signals) -> None:
    """With ``stop_on_signals`` a signal ends the program as an exit does (DESIGN 5, Stop)."""
    before = signal.getsignal(number)

    def program() -> None:
        with running(memory) as runtime:
            runtime.stop_on_signals(*([] if number is signal.SIGTERM else [number]))
            runtime.get(Late, "a").ask(Late.add)
            signal.raise_signal(number)

    try:
        with pytest.raises(SystemExit) as caught:
            program()
    finally:
        signal.signal(number, before)

    assert caught.value.code == 128 + number
    checkpoint = memory.get_checkpoint("late/a")
    assert checkpoint is not None
    assert checkpoint.value["count"] == 1


def test_signals_are_left_alone_by_default(memory: MemoryStorage) -> None:
    """Without ``stop_on_signals`` nothing is done to the program's signals."""
    before = signal.getsignal(signal.SIGTERM)

    with running(memory):
        assert signal.getsignal(signal.SIGTERM) is before
