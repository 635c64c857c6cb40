"""Events: typed, in order for each agent, and no listener can harm anybody."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.kit import (
    PATIENCE,
    Gate,
    LifeClock,
    Scripted,
    Watch,
    begin,
    done,
    result,
    running,
)
from torpor import (
    AgentEvent,
    DeadLetter,
    Hibernated,
    HibernationReason,
    HookFailed,
    MailboxFullError,
    Runtime,
    SaveFailed,
    Thawed,
    ThawError,
    ThawFailed,
)

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage

IDLE = 60.0


class Small(Scripted, mailbox=1):
    """Has room for one message."""


# -- hibernation reasons ----------------------------------------------------------------------


def test_idle(runtime: Runtime, clock: LifeClock, watch: Watch) -> None:
    """Whom nobody spoke to is IDLE (DESIGN 6)."""
    runtime.get(Scripted, "a").ask(Scripted.read)
    clock.pass_time(IDLE)
    assert [event.reason for event in watch.wait(Hibernated)] == [HibernationReason.IDLE]


def test_evicted(storage: FaultyStorage) -> None:
    """Whom there was no room for is EVICTED."""
    with running(storage, max_live=1) as runtime:
        watch = Watch(runtime)
        runtime.get(Scripted, "a").ask(Scripted.read)
        runtime.get(Scripted, "b").ask(Scripted.read)
        assert watch.wait(Hibernated)[0] == Hibernated("scripted/a", HibernationReason.EVICTED)


def test_requested(runtime: Runtime, watch: Watch) -> None:
    """Whom a user sent to sleep was REQUESTED to."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.read)
    agent.hibernate()
    assert [event.reason for event in watch.of(Hibernated)] == [HibernationReason.REQUESTED]


def test_stopped(memory: MemoryStorage) -> None:
    """Who leaves with the runtime is STOPPED."""
    runtime = Runtime(memory)
    watch = Watch(runtime)
    runtime.get(Scripted, "a").ask(Scripted.read)
    runtime.stop(5)
    assert [event.reason for event in watch.of(Hibernated)] == [HibernationReason.STOPPED]


def test_always_thaw(storage: FaultyStorage) -> None:
    """Who lives for one message only says so."""
    with running(storage, always_thaw=True) as runtime:
        watch = Watch(runtime)
        agent = runtime.get(Scripted, "a")
        assert [agent.ask(Scripted.add) for _ in range(2)] == [1, 2]
        events = watch.wait(Hibernated, 2)
        assert {event.reason for event in events} == {HibernationReason.ALWAYS_THAW}


def test_discarded(runtime: Runtime, watch: Watch) -> None:
    """A copy that can't be brought back to what it was is DISCARDED."""
    breaking = threading.Event()

    class Brittle(Scripted):
        """Cannot be decoded while it is being broken."""

        @classmethod
        def restore(cls, data: dict[str, object]) -> Brittle:
            """Fail once."""
            if breaking.is_set():
                breaking.clear()
                msg = "broken"
                raise OSError(msg)
            return cls(**data)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    agent = runtime.get(Brittle, "a")
    agent.ask(Brittle.add)

    def fail(me: Scripted) -> None:
        me.count = 100
        breaking.set()
        msg = "on purpose"
        raise LookupError(msg)

    with pytest.raises(LookupError):
        agent.ask(Brittle.do, fail)

    assert agent.ask(Brittle.read) == 1
    assert [event.reason for event in watch.of(Hibernated)] == [HibernationReason.DISCARDED]


# -- dead letters -----------------------------------------------------------------------------


def test_a_tell_that_fails_is_a_dead_letter(runtime: Runtime, watch: Watch) -> None:
    """Nobody waits for the error, so it is an event, counted (DESIGN 6)."""
    agent, error = runtime.get(Scripted, "a"), LookupError("on purpose")

    def fail(_: Scripted) -> None:
        raise error

    agent.tell(Scripted.do, fail)

    assert watch.wait(DeadLetter) == [DeadLetter(agent.address, "do", error)]
    assert runtime.stats().dead_letters == 1
    assert agent.ask(Scripted.add) == 1


def test_a_released_tell_that_finds_no_room_is_a_dead_letter(
    runtime: Runtime, watch: Watch
) -> None:
    """A tell that leaves with its turn reaches nobody if the mailbox is full by then."""
    target, gate = runtime.get(Small, "a"), Gate()
    busy = target.submit(Small.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    queued = target.submit(Small.add)

    runtime.get(Scripted, "sender").ask(Scripted.do, lambda _: target.tell(Small.add))

    [letter] = watch.wait(DeadLetter)
    assert (letter.agent, letter.method) == (target.address, "add")
    assert isinstance(letter.error, MailboxFullError)
    with pytest.raises(MailboxFullError):
        target.tell(Small.add)
    gate.open()
    result(busy)
    assert result(queued) == 1
    assert runtime.stats().dead_letters == 1


def test_a_tell_to_who_cannot_thaw_is_a_dead_letter(
    runtime: Runtime, storage: FaultyStorage, watch: Watch
) -> None:
    """The thaw's error is told, to the message's event and to its own (HC-23)."""
    storage.put_checkpoint("scripted/a", {"count": "many"}, kind="scripted")

    runtime.get(Scripted, "a").tell(Scripted.add)

    [letter] = watch.wait(DeadLetter)
    assert isinstance(letter.error, ThawError)
    assert [event.agent for event in watch.of(ThawFailed)] == ["scripted/a"]


# -- order and listeners ----------------------------------------------------------------------


def test_a_life_is_told_in_order(runtime: Runtime, clock: LifeClock, watch: Watch) -> None:
    """Thawed and hibernated alternate, as they happened."""
    agent = runtime.get(Scripted, "a")
    for _ in range(3):
        agent.ask(Scripted.add)
        agent.hibernate()
    agent.ask(Scripted.add)
    clock.pass_time(IDLE)
    watch.wait(Hibernated, 4)

    kinds = [type(event) for event in watch.events]
    assert kinds == [Thawed, Hibernated] * 4
    assert [event.rev for event in watch.of(Thawed)] == [0, 1, 2, 3]


@pytest.mark.parametrize("how", ["requested", "idle"])
def test_the_next_life_is_told_after_the_last(runtime: Runtime, clock: LifeClock, how: str) -> None:
    """However long a listener takes, an agent's events reach it one after the other."""
    told: list[str] = []
    gate = Gate()

    def listen(event: AgentEvent) -> None:
        if isinstance(event, Hibernated):
            gate.pass_through()
        told.append(type(event).__name__)

    agent, other = (runtime.get(Scripted, key).options(timeout=None) for key in "ab")
    agent.ask(Scripted.add)
    stop = runtime.listen(listen)
    leaving = begin(agent.hibernate if how == "requested" else lambda: clock.advance(IDLE))
    gate.wait_for_entry()

    reply = agent.submit(Scripted.add)
    if how == "requested":
        result(other.submit(Scripted.read))  # so a worker had every chance to thaw it early
    gate.open()

    done(leaving)
    assert result(reply) == 2
    stop()
    mine = [name for name in told if name in {"Hibernated", "Thawed"}]
    assert mine[-2:] == (["Hibernated", "Thawed"])
    assert mine.count("Hibernated") == 1


def test_a_failing_listener_harms_nobody(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the agent, and the listeners behind it, do not notice (DESIGN 6)."""

    def fail(_: AgentEvent) -> None:
        msg = "of the listener"
        raise LookupError(msg)

    runtime.listen(fail)
    watch = Watch(runtime)
    agent = runtime.get(Scripted, "a")

    with caplog.at_level(logging.ERROR, logger="torpor"):
        assert agent.ask(Scripted.add) == 1
        agent.hibernate()
        assert agent.ask(Scripted.add) == 2

    assert [type(event) for event in watch.events] == [Thawed, Hibernated, Thawed]
    assert caplog.text.count("of the listener") == 3


def test_listeners_may_choose_and_end(runtime: Runtime) -> None:
    """A listener hears the events of its kind, until it has heard enough."""
    hibernated: list[Hibernated] = []
    stop = runtime.listen(hibernated.append, Hibernated)
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add)
    agent.hibernate()

    stop()
    stop()
    agent.ask(Scripted.add)
    agent.hibernate()

    assert hibernated == [Hibernated(agent.address, HibernationReason.REQUESTED)]


def test_one_listener_may_listen_twice(runtime: Runtime) -> None:
    """Each listening ends by itself."""
    heard: list[AgentEvent] = []
    first = runtime.listen(heard.append)
    runtime.listen(heard.append)
    first()

    runtime.get(Scripted, "a").ask(Scripted.add)

    assert len(heard) == 1


@pytest.mark.parametrize("hook", ["on_hibernate", "on_failure"])
def test_a_failing_hook_is_told(runtime: Runtime, watch: Watch, hook: str) -> None:
    """Which hook, of whom, and why."""
    reason = OSError("of the hook")

    class Clumsy(Scripted):
        """Fails in its hooks."""

        def on_hibernate(self) -> None:
            """Fail."""
            raise reason

        def on_failure(self, error: BaseException) -> None:
            """Fail."""
            raise reason from error

    agent = runtime.get(Clumsy, "a")
    if hook == "on_failure":
        with pytest.raises(ZeroDivisionError):
            agent.ask(Clumsy.do, lambda _: 1 // 0)
    else:
        agent.ask(Clumsy.add)
        agent.hibernate()

    assert watch.of(HookFailed) == [HookFailed(agent.address, hook, reason)]


def test_saves_that_fail_are_told_and_counted(
    runtime: Runtime, clock: LifeClock, watch: Watch, storage: FaultyStorage
) -> None:
    """Each attempt is an event; the success after it is none."""
    agent = runtime.get(Scripted, "a")
    storage.fail_next("commit")
    reply = agent.submit(Scripted.add)
    watch.wait(SaveFailed)
    clock.pass_backoff()

    assert result(reply) == 1
    assert [(event.agent, event.attempt) for event in watch.of(SaveFailed)] == [(agent.address, 1)]
    assert runtime.stats().save_failures == 1


def test_nobody_need_listen(runtime: Runtime) -> None:
    """What is counted is counted without listeners too."""
    agent = runtime.get(Scripted, "a")
    done(begin(lambda: agent.submit(Scripted.add).get(timeout=PATIENCE)))
    agent.hibernate()

    assert (runtime.stats().thaws, runtime.stats().hibernations) == (1, 1)
