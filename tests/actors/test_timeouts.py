"""Calls that time out or are cancelled: withdrawn, or their outcome is unknown."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.actors.kit import A_MOMENT, SOON, Scripted, held, new_runtime, noting, run_loop
from tests.runtime.kit import Gate
from torpor import CallTimeoutError, Runtime
from torpor.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands still."""
    return ManualClock()


@pytest.fixture
def timed(storage: FaultyStorage, clock: ManualClock) -> Iterator[AgentRef[Scripted]]:
    """Return an agent that is awake, and whose calls time out when ``clock`` says so."""
    with new_runtime(storage, clock=clock) as runtime:
        agent = runtime.get(Scripted, "a")
        agent.ask(Scripted.read)
        yield agent


@pytest.fixture
def busy(agent: AgentRef[Scripted]) -> Iterator[Gate]:
    """Return the gate that ``agent`` stands at."""
    gate = Gate()
    agent.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    yield gate
    gate.open()


def test_a_call_that_has_not_started_in_time_is_withdrawn(
    agent: AgentRef[Scripted], busy: Gate
) -> None:
    """It is never run, and the error says so (HC-9)."""
    with pytest.raises(CallTimeoutError, match="not_run") as caught:
        agent.options(timeout=A_MOMENT).ask(Scripted.add)
    busy.open()

    assert caught.value.outcome == "not_run"
    assert agent.ask(Scripted.read) == 0


def test_a_call_that_has_started_has_an_unknown_outcome(
    timed: AgentRef[Scripted], clock: ManualClock
) -> None:
    """Its handler goes on, and the error says that it may have been applied (HC-9)."""
    gate = Gate()

    def hold(me: Scripted) -> int:
        gate.pass_through()
        return me.add()

    reply = timed.submit(Scripted.do, hold)
    gate.wait_for_entry()
    clock.advance(SOON)

    with pytest.raises(CallTimeoutError, match="unknown") as caught:
        reply.get()
    gate.open()

    assert caught.value.outcome == "unknown"
    assert timed.ask(Scripted.read) == 1


def test_a_late_reply_is_still_returned(timed: AgentRef[Scripted], clock: ManualClock) -> None:
    """Who asks the same reply again after its timeout gets the value that came since (HC-10)."""
    gate = Gate()
    reply = timed.submit(Scripted.do, held(gate, lambda _: "late"))
    gate.wait_for_entry()
    clock.advance(SOON)
    with pytest.raises(CallTimeoutError):
        reply.get()

    gate.open()
    timed.ask(Scripted.read)

    assert reply.get() == "late"


def test_a_patience_of_ones_own_leaves_the_call_alone(
    agent: AgentRef[Scripted], busy: Gate
) -> None:
    """``get(timeout=…)`` gives up the waiting, not the call."""
    reply = agent.submit(Scripted.add)

    with pytest.raises(CallTimeoutError, match="unknown"):
        reply.get(timeout=A_MOMENT)
    busy.open()

    assert reply.get(timeout=SOON) == 1


def test_the_timeout_bounds_the_thaw(runtime: Runtime, storage: FaultyStorage) -> None:
    """A storage that does not answer keeps no caller longer; the call is withdrawn (HC-25)."""
    storage.timeout = 1  # so a caller with less time leaves its calls to a worker
    agent = runtime.get(Scripted, "a")
    with (
        storage.hang_next("read"),
        pytest.raises(CallTimeoutError, match="not_run"),
    ):
        agent.options(timeout=A_MOMENT).ask(Scripted.add)

    assert agent.ask(Scripted.read) == 0


def test_the_timeout_bounds_the_commit(
    timed: AgentRef[Scripted], storage: FaultyStorage, clock: ManualClock
) -> None:
    """A commit that takes too long leaves the outcome unknown; here it was applied (HC-9)."""
    with storage.hang_next("commit") as hang:
        reply = timed.submit(Scripted.add)
        assert hang.entered.wait(SOON)
        clock.advance(SOON)
        with pytest.raises(CallTimeoutError, match="unknown"):
            reply.get()

    assert timed.ask(Scripted.read) == 1


def test_what_was_withdrawn_leaves_the_others_in_order(
    agent: AgentRef[Scripted], busy: Gate
) -> None:
    """Messages before and behind a withdrawn call are handled as if it had never been."""
    first = agent.submit(Scripted.write, "first")
    withdrawn = agent.submit(Scripted.write, "withdrawn")
    last = agent.submit(Scripted.write, "last")

    assert withdrawn.cancel()
    busy.open()
    first.get(timeout=SOON)
    last.get(timeout=SOON)

    assert agent.ask(Scripted.do, lambda me: me.log) == ("first", "last")


def test_cancelling_before_the_start_withdraws(agent: AgentRef[Scripted], busy: Gate) -> None:
    """``cancel`` says so, and whoever gets the reply is told."""
    reply = agent.submit(Scripted.add)

    assert reply.cancel()
    assert not reply.cancel()
    with pytest.raises(CallTimeoutError, match="cancelled") as caught:
        reply.get(timeout=SOON)
    busy.open()

    assert caught.value.outcome == "not_run"
    assert agent.ask(Scripted.read) == 0


def test_cancelling_after_the_start_does_nothing(agent: AgentRef[Scripted]) -> None:
    """A handler that runs can't be taken back: its reply comes."""
    gate = Gate()
    reply = agent.submit(Scripted.do, held(gate, lambda me: me.add()))
    gate.wait_for_entry()

    assert not reply.cancel()
    gate.open()

    assert reply.get(timeout=SOON) == 1
    assert not reply.cancel()


def test_a_task_that_is_cancelled_withdraws_its_call(agent: AgentRef[Scripted], busy: Gate) -> None:
    """Whoever stops awaiting takes the call back if it has not started."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(agent.submit(Scripted.add), A_MOMENT)

    run_loop(main())
    busy.open()

    assert agent.ask(Scripted.read) == 0


def test_a_task_cancelled_later_does_not_stop_the_handler(agent: AgentRef[Scripted]) -> None:
    """A call that has started goes on without the task that awaited it."""
    gate = Gate()
    reply = agent.submit(Scripted.do, held(gate, lambda me: me.add()))
    gate.wait_for_entry()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reply, A_MOMENT)

    run_loop(main())
    gate.open()

    assert reply.get(timeout=SOON) == 1


@pytest.mark.usefixtures("busy")
def test_awaiting_again_what_was_withdrawn_does_not_hang(agent: AgentRef[Scripted]) -> None:
    """A second await of a reply whose first one gave up is told at once."""
    reply = agent.options(timeout=None).submit(Scripted.read)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reply, A_MOMENT)
        with pytest.raises(CallTimeoutError, match="cancelled"):
            await asyncio.wait_for(reply, SOON)

    run_loop(main())


def test_a_waiter_is_told_when_another_cancels(agent: AgentRef[Scripted], busy: Gate) -> None:
    """Two tasks await one reply; one is cancelled; the other does not wait for ever."""
    reply = agent.options(timeout=None).submit(Scripted.read)

    async def wait() -> int:
        return await reply

    async def main() -> None:
        cancelled, innocent = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)  # both begin to wait
        cancelled.cancel()
        with pytest.raises(CallTimeoutError, match="not_run"):
            await asyncio.wait_for(innocent, SOON)

    run_loop(main())
    busy.open()


def test_an_await_times_out(agent: AgentRef[Scripted], busy: Gate) -> None:
    """The timeout of a reference holds for awaited replies too, and withdraws."""

    async def main() -> None:
        with pytest.raises(CallTimeoutError, match="not_run"):
            await agent.options(timeout=A_MOMENT).submit(Scripted.add)

    run_loop(main())
    busy.open()

    assert agent.ask(Scripted.read) == 0


def test_of_start_and_withdrawal_one_wins(agent: AgentRef[Scripted]) -> None:
    """However they race, a withdrawn call never runs and one that ran is never withdrawn."""
    ran: list[int] = []
    withdrawn = 0
    for i in range(300):
        reply = agent.submit(Scripted.do, noting(i, ran))
        if reply.cancel():
            withdrawn += 1
    agent.ask(Scripted.read)

    assert len(ran) == len(set(ran)) == 300 - withdrawn


def test_the_default_timeout_is_half_a_minute() -> None:
    """Calls time out after 30 s unless the runtime or the reference says otherwise."""
    clock = ManualClock()
    with new_runtime(clock=clock) as quick:
        assert quick.get(Scripted, "a").deadline() == SOON
    with Runtime("memory:", clock=clock) as runtime:
        agent = runtime.get(Scripted, "a")

        assert agent.deadline() == 30
        assert agent.options(timeout=5).deadline() == 5
        assert agent.options(timeout=None).deadline() is None
        assert agent.deadline() == 30, "options are a copy's"


def test_two_threads_wait_for_one_reply(agent: AgentRef[Scripted], busy: Gate) -> None:
    """Every waiter of a reply is woken."""
    reply = agent.submit(Scripted.add)
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(reply.get(timeout=SOON)), daemon=True)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    busy.open()
    for thread in threads:
        thread.join(SOON)

    assert results == [1] * 4
