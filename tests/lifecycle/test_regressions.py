"""Interleavings that once broke a promise, brought about on purpose."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.kit import (
    PATIENCE,
    Gate,
    LifeClock,
    Scripted,
    Watch,
    result,
    run_all_queued,
    running,
)
from torpor import Agent, ConflictDetected, ConflictError, RecordTooLargeError, Runtime
from torpor.activation import Activation
from torpor.manager import InstanceManager
from torpor.storage.faults import Conflicts
from torpor.workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torpor import Reply
    from torpor.calls import Call
    from torpor.ref import AgentRef
    from torpor.storage import Change, Due
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage
    from torpor.storage.records import Outcome


@pytest.fixture
def source(ticking: Runtime) -> AgentRef[Scripted]:
    """Return an agent that is awake and stored."""
    source = ticking.get(Scripted, "source")
    source.ask(Scripted.add)
    return source


@pytest.fixture
def sink(ticking: Runtime) -> AgentRef[Scripted]:
    """Return an agent that is awake."""
    sink = ticking.get(Scripted, "sink")
    sink.ask(Scripted.read)
    return sink


class LateConflict(Conflicts):
    """A conflict that is answered when the test says so."""

    def __init__(self) -> None:
        self.gate = Gate()

    def around_commit(self, changes: Sequence[Change], commit: Any) -> Sequence[Outcome]:
        """Wait, and conflict."""
        self.gate.pass_through()
        return super().around_commit(changes, commit)


def hold_delivery(monkeypatch: pytest.MonkeyPatch, target: AgentRef[Scripted], gate: Gate) -> None:
    """Hold the first call to ``target`` at ``gate``, on its way into the mailbox."""
    deliver, first = InstanceManager.deliver, threading.Semaphore(1)

    def held(
        self: InstanceManager, ref: AgentRef[Any], call: Call, *, inline: bool = False
    ) -> Activation | None:
        if ref == target and first.acquire(blocking=False):
            gate.pass_through()
        return deliver(self, ref, call, inline=inline)

    monkeypatch.setattr(InstanceManager, "deliver", held)


def test_a_turn_that_begins_while_its_copy_turns_stale_runs_again(
    ticking: Runtime,
    storage: FaultyStorage,
    source: AgentRef[Scripted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A conflict just before a turn's first line loses nothing that was acknowledged."""
    watch, beginning, take_turn = Watch(ticking), Gate(), Activation._take_turn
    first = threading.Semaphore(1)

    def late(self: Activation, call: Call, *, inline: bool) -> bool:
        if call.args == ("two",) and first.acquire(blocking=False):
            beginning.pass_through()
        return take_turn(self, call, inline=inline)

    monkeypatch.setattr(Activation, "_take_turn", late)
    conflict = LateConflict()
    storage.next("commit", conflict)
    one = source.submit(Scripted.write, "one")
    conflict.gate.wait_for_entry()
    two = source.submit(Scripted.write, "two")
    beginning.wait_for_entry()

    conflict.gate.open()
    watch.wait(ConflictDetected)
    beginning.open()

    one.get(timeout=PATIENCE)
    two.get(timeout=PATIENCE)
    record = storage.get_checkpoint(source.address)
    assert record is not None
    assert record.value["log"] == ["one", "two"]


def test_calls_leave_in_order_while_one_is_being_let_out(
    storage: FaultyStorage,
    source: AgentRef[Scripted],
    sink: AgentRef[Scripted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that could leave at once does not overtake one that was kept back."""
    leaving = Gate()
    hold_delivery(monkeypatch, sink, leaving)
    replies: list[Reply[None]] = []
    with storage.hang_next("commit") as hang:
        source.tell(Scripted.add)
        assert hang.entered.wait(PATIENCE)

        def send_two(_: Scripted) -> None:
            replies.append(sink.submit(Scripted.write, "one"))
            hang.release()
            leaving.wait_for_entry()
            replies.append(sink.submit(Scripted.write, "two"))
            leaving.open()

        source.submit(Scripted.do, send_two).get(timeout=PATIENCE)

    for reply in replies:
        reply.get(timeout=PATIENCE)
    assert sink.ask(Scripted.do, lambda me: me.log) == ("one", "two")


def test_a_turn_whose_call_is_being_let_out_is_not_run_again(
    ticking: Runtime,
    storage: FaultyStorage,
    source: AgentRef[Scripted],
    sink: AgentRef[Scripted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A conflict in that moment finds that the call can't be taken back."""
    leaving, watch = Gate(), Watch(ticking)
    runs: list[int] = []
    arrived = threading.Semaphore(0)
    hold_delivery(monkeypatch, sink, leaving)
    with storage.hang_next("commit") as hang:
        source.tell(Scripted.add)
        assert hang.entered.wait(PATIENCE)
        storage.conflict_next()

        def send(me: Scripted) -> None:
            runs.append(me.add())
            sink.submit(Scripted.do, lambda _: arrived.release())
            if len(runs) == 1:
                hang.release()
                leaving.wait_for_entry()

        reply = source.submit(Scripted.do, send)
        watch.wait(ConflictDetected)
        leaving.open()

        with pytest.raises(ConflictError) as caught:
            reply.get(timeout=PATIENCE)
    assert caught.value.outcome == "not_applied"
    assert arrived.acquire(timeout=PATIENCE)
    assert not arrived.acquire(blocking=False)
    assert len(runs) == 1


def test_a_stream_of_turns_does_not_hold_a_call_back(
    storage: FaultyStorage, source: AgentRef[Scripted], sink: AgentRef[Scripted]
) -> None:
    """A call leaves with the commit that it waits for, however many commits are behind it."""
    arrived = threading.Event()

    def send(me: Scripted) -> None:
        me.count += 1
        sink.submit(Scripted.do, lambda _: arrived.set())

    hangs = [storage.hang_next("commit", keys=[source.address]) for _ in range(4)]
    source.tell(Scripted.add)
    assert hangs[0].entered.wait(PATIENCE)
    source.tell(Scripted.do, send)
    for before, hang in pairwise(hangs[:3]):
        source.tell(Scripted.add)
        run_all_queued(source)
        before.release()
        assert hang.entered.wait(PATIENCE)

    assert arrived.wait(PATIENCE)
    for hang in hangs:
        hang.release()


def test_an_initial_state_that_is_too_large_is_refused_once(
    storage: FaultyStorage, clock: LifeClock
) -> None:
    """Its caller gets the storage's error; it is not sent again and again."""
    storage.max_document_bytes = 500

    async def read(me: Scripted) -> int:
        await asyncio.sleep(0)
        return me.count

    with running(storage, clock=clock) as runtime:
        agent = runtime.get(Scripted, "a", initial={"log": ["y" * 2000]})

        with pytest.raises(RecordTooLargeError):
            result(agent.submit(Scripted.do_async, read))

        assert len(storage.batches) <= 2


@pytest.mark.parametrize("how", ["ask", "submit", "proxy"])
def test_always_thaw_copies_results(storage: FaultyStorage, how: str) -> None:
    """However it was asked for, a result shares nothing with what the agent holds."""
    shared = [1]

    def share(_: Scripted) -> list[int]:
        return shared

    with running(storage, always_thaw=True) as runtime:
        agent = runtime.get(Scripted, "a")
        if how == "ask":
            answer = agent.ask(Scripted.do, share)
        elif how == "submit":
            answer = agent.submit(Scripted.do, share).get(timeout=PATIENCE)
        else:
            answer = agent.proxy().do(share).get(timeout=PATIENCE)

    assert answer == shared
    assert answer is not shared


def test_a_result_that_cannot_be_copied_is_an_error_for_its_caller(storage: FaultyStorage) -> None:
    """It is told at once, with ``always_thaw``; the turn is kept, and the agent goes on."""

    def lock(me: Scripted) -> Any:
        me.count += 1
        return threading.Lock()

    with running(storage, always_thaw=True) as runtime:
        agent = runtime.get(Scripted, "a")
        with pytest.raises(TypeError, match="lock"):
            agent.submit(Scripted.do, lock).get(timeout=PATIENCE)
        assert agent.ask(Scripted.read) == 1


def test_nobody_is_woken_before_all_classes_are_known(
    memory: MemoryStorage, clock: LifeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is due of a class further down in ``agents`` is told to be unknown (HC-18)."""
    steps: list[str] = []

    class Other(Agent):
        """Is the second."""

    def classes() -> Iterator[type[Agent]]:
        yield Scripted
        yield Other
        steps.append("known")

    def asked(now: float, limit: int) -> list[Due]:
        del now, limit
        steps.append("asked")
        return []

    with monkeypatch.context() as patches:
        patches.setattr(WorkerPool, "schedule", lambda _, job: job())  # what may come at once does
        patches.setattr(memory, "list_due", asked)
        runtime = Runtime(memory, clock=clock, agents=classes())
    runtime.stop()

    assert steps == ["known", "asked"]
