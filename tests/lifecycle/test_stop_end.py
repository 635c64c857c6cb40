"""The end of a stop: what is closed, who may stop, how often, and by which signal."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import asyncio
import signal
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
    running,
    saved_count,
    stoppable,
    time_out,
)
from torpor import (
    BlockingCallError,
    Hibernated,
    HibernationReason,
    Runtime,
    RuntimeStoppedError,
    StorageClosedError,
)

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage

__all__ = ["stoppable"]


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
