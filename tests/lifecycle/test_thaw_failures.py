"""Thaws that fail: closed, told to everybody, tried again after a while; nobody else notices."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.kit import (
    PATIENCE,
    Gate,
    LifeClock,
    Scripted,
    Watch,
    begin,
    note_submissions,
    result,
    saved_count,
)
from torpor import (
    CallTimeoutError,
    CorruptRecordError,
    InvalidStateError,
    Runtime,
    SchemaVersionError,
    StorageUnavailableError,
    Thawed,
    ThawError,
    ThawFailed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage.faulty import FaultyStorage

STORED = {"count": 5}


class Migrating(Scripted, version=2, kind="scripted"):
    """Cannot take its older versions."""

    @classmethod
    def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
        """Fail."""
        msg = f"no way from {from_version}: {data}"
        raise LookupError(msg)


class Unrestorable(Scripted, kind="scripted"):
    """Cannot be brought back."""

    @classmethod
    def restore(cls, data: dict[str, Any]) -> Unrestorable:
        """Fail."""
        msg = f"not from {data}"
        raise LookupError(msg)


def put(storage: FaultyStorage, key: str = "a", value: Any = None, **fields: Any) -> None:
    """Store an agent."""
    kind = fields.pop("kind", "scripted")
    storage.put_checkpoint(f"scripted/{key}", value or STORED, kind=kind, **fields)


def corrupt(storage: FaultyStorage) -> None:
    """Have the stored agent read as damaged."""
    put(storage)
    storage.fail_next("read", error=CorruptRecordError("scripted/a", "damaged"))


FAILURES: dict[str, tuple[Callable[[FaultyStorage], None], type[Scripted], type[Exception]]] = {
    "corrupt": (corrupt, Scripted, CorruptRecordError),
    "newer": (lambda storage: put(storage, version=7), Scripted, SchemaVersionError),
    "other kind": (lambda storage: put(storage, kind="alien"), Scripted, CorruptRecordError),
    "migrate": (put, Migrating, LookupError),
    "restore": (put, Unrestorable, LookupError),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_it_fails_closed(
    runtime: Runtime, storage: FaultyStorage, watch: Watch, failure: str
) -> None:
    """The caller gets the cause, nothing is overwritten, nobody takes the place (DESIGN 5.4)."""
    spoil, cls, cause = FAILURES[failure]
    spoil(storage)
    before = storage.inner.get_checkpoint("scripted/a")
    storage.batches.clear()
    agent = runtime.get(cls, "a", initial={"count": 100})

    for _ in range(2):
        with pytest.raises(ThawError) as caught:
            agent.ask(cls.add)
        assert isinstance(caught.value.__cause__, cause)

    [event] = watch.of(ThawFailed)
    assert isinstance(event.error, cause)
    assert agent.status().state == "failed"
    assert runtime.live() == []
    assert storage.batches == []
    assert storage.inner.get_checkpoint("scripted/a") == before


def test_others_do_not_notice(
    runtime: Runtime, storage: FaultyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents that are read in the same batch thaw (DESIGN 6)."""
    put(storage, "bad", {"count": "many"})
    put(storage, "good")
    first, bad, good = (runtime.get(Scripted, key) for key in ("first", "bad", "good"))
    arrived = note_submissions(runtime.manager.loads, monkeypatch, "bad", "good")
    with storage.hang_next("read") as hang:
        replies = [first.submit(Scripted.read)]
        assert hang.entered.wait(PATIENCE)
        replies += [bad.submit(Scripted.read), good.submit(Scripted.read)]
        assert all(event.wait(PATIENCE) for event in arrived.values())

    assert result(replies[0]) == 0
    with pytest.raises(ThawError):
        result(replies[1])
    assert result(replies[2]) == 5
    assert storage.calls["read"] == 2


def test_a_hundred_first_messages_thaw_once(
    runtime: Runtime, storage: FaultyStorage, watch: Watch
) -> None:
    """Single flight: they wait for one read, and are handled in order (HC-24)."""
    put(storage)
    agent = runtime.get(Scripted, "a")
    with storage.hang_next("read") as hang:
        replies = [agent.submit(Scripted.add) for _ in range(100)]
        assert hang.entered.wait(PATIENCE)

    assert [result(reply) for reply in replies] == list(range(6, 106))
    assert storage.calls["read"] == 1
    assert len(watch.of(Thawed)) == 1


def test_a_hundred_first_messages_fail_together(
    runtime: Runtime, storage: FaultyStorage, watch: Watch
) -> None:
    """Each gets the error of the one read (HC-25)."""
    put(storage, value={"count": "many"})
    agent = runtime.get(Scripted, "a")
    with storage.hang_next("read") as hang:
        replies = [agent.submit(Scripted.add) for _ in range(100)]
        assert hang.entered.wait(PATIENCE)

    for reply in replies:
        with pytest.raises(ThawError):
            result(reply)
    assert storage.calls["read"] == 1
    assert len(watch.of(ThawFailed)) == 1


def test_a_failed_thaw_is_not_tried_at_once_again(
    runtime: Runtime, storage: FaultyStorage, clock: LifeClock
) -> None:
    """Each failure is remembered twice as long, 5 s at most; calls fail at once then (HC-7)."""
    put(storage, value={"count": "many"})
    agent = runtime.get(Scripted, "a")
    for attempt in range(9):
        with pytest.raises(ThawError):
            agent.ask(Scripted.read)
        assert storage.calls["read"] == attempt + 1
        wait = min(0.05 * 2**attempt, 5.0)
        clock.advance(wait * 0.99)
        for call in (agent.ask, agent.submit, agent.tell):
            with pytest.raises(ThawError):
                call(Scripted.read)
        assert storage.calls["read"] == attempt + 1
        clock.advance(wait * 0.02)


def test_a_success_forgets_the_failures(
    runtime: Runtime, storage: FaultyStorage, clock: LifeClock
) -> None:
    """A repaired agent that breaks again is tried again soon."""
    agent = runtime.get(Scripted, "a")
    for value in ({"count": "many"}, STORED, {"count": "many"}):
        agent.hibernate()
        put(storage, value=value)
        for _ in range(3):
            clock.advance(5)
            if value is STORED:
                assert agent.ask(Scripted.read) == 5
            else:
                with pytest.raises(ThawError):
                    agent.ask(Scripted.read)
    agent.hibernate()
    clock.advance(5)
    put(storage)
    assert agent.ask(Scripted.read) == 5
    assert agent.status().error is None


def test_a_wrong_initial_state_is_the_callers_mistake(runtime: Runtime) -> None:
    """It is not remembered: whoever comes with a better one is served at once."""
    with pytest.raises((InvalidStateError, ThawError)):
        runtime.get(Scripted, "a", initial={"count": "many"}).ask(Scripted.read)

    assert runtime.get(Scripted, "a", initial={"count": 3}).ask(Scripted.read) == 3


def test_a_storage_that_is_away_is_waited_for(
    runtime: Runtime, storage: FaultyStorage, clock: LifeClock, watch: Watch
) -> None:
    """Messages wait, in order, until it is back; it is no failed thaw (HC-25)."""
    put(storage)
    agent = runtime.get(Scripted, "a")
    storage.disconnect(operations=3)
    replies = [agent.submit(Scripted.add) for _ in range(3)]
    for _ in range(3):
        clock.pass_backoff(0.25)

    assert [result(reply) for reply in replies] == [6, 7, 8]
    assert watch.of(ThawFailed) == []
    assert saved_count(storage, agent) == 8


def test_who_cannot_wait_so_long_is_told_and_the_others_wait(
    runtime: Runtime, storage: FaultyStorage, clock: LifeClock
) -> None:
    """A call times out by its own deadline, with the storage's trouble as its cause."""
    put(storage)
    agent = runtime.get(Scripted, "a")
    storage.disconnect()
    patient = agent.submit(Scripted.add)
    hurried = agent.options(timeout=1).submit(Scripted.add)
    clock.pass_backoff(1)
    with pytest.raises(CallTimeoutError) as caught:
        result(hurried)
    assert caught.value.outcome == "not_run"
    storage.reconnect()
    clock.pass_backoff(0.25)

    assert result(patient) == 6


def test_a_storage_that_stays_away_is_given_up(
    runtime: Runtime, storage: FaultyStorage, clock: LifeClock
) -> None:
    """After half a minute the thaw has failed, for callers without a deadline too."""
    put(storage)
    agent = runtime.get(Scripted, "a").options(timeout=None)
    storage.disconnect()
    reply = agent.submit(Scripted.add)
    clock.pass_backoff(31)

    with pytest.raises(ThawError) as caught:
        result(reply)
    assert isinstance(caught.value.__cause__, StorageUnavailableError)
    storage.reconnect()
    clock.advance(5)
    assert agent.ask(Scripted.add) == 6


def test_a_slow_handler_is_not_blamed_on_the_storage(
    runtime: Runtime, storage: FaultyStorage, clock: LifeClock
) -> None:
    """Once thawed, a call that times out has an unknown outcome, and no save failed."""
    storage.fail_next("read")
    gate = Gate()
    agent = runtime.get(Scripted, "a")
    reply = agent.options(timeout=20).submit(Scripted.do, lambda _: gate.pass_through())
    clock.pass_backoff()
    gate.wait_for_entry()
    waiting = begin(reply.get)
    clock.pass_deadline()

    error = waiting.exception(PATIENCE)
    assert isinstance(error, CallTimeoutError)
    assert error.outcome == "unknown"
    gate.open()
