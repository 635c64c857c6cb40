"""Who has something to do is woken; who can't be woken here holds up nobody."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.messages.kit import Receiver, Sender, die_before, outbox_of
from tests.runtime.kit import Watch, eventually
from torpor import Agent, KindUnknown, Runtime
from torpor.storage.faulty import FaultyStorage
from torpor.waker import Waker

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from tests.runtime.quiet import QuietClock
    from torpor.storage import Due, Storage


def leave_messages(storage: Storage, clock: QuietClock, *keys: str) -> None:
    """Have senders leave a message each, as if the process had died before it was sent."""
    with Runtime(storage, clock=clock) as runtime:
        die_before(runtime.manager.courier, "send")
        for key in keys:
            runtime.get(Sender, key).ask(Sender.pass_on, "b", key)
    clock.advance(30)


def test_an_unknown_kind_stays_due_and_is_told_once(storage: Storage, clock: QuietClock) -> None:
    """Its class may be known elsewhere, or here later: then it is woken."""
    leave_messages(storage, clock, "1", "2")
    with Runtime(storage, wake_interval=0.01) as runtime:
        watch = Watch(runtime)
        receiver = runtime.get(Receiver, "b")  # with the first class the waker begins
        watch.wait(KindUnknown)
        waker = runtime.manager.waker
        eventually(lambda: waker._stuck == {"sender/1", "sender/2"})
        assert len(storage.list_due(clock.time())) == 2

        runtime.get(Sender, "1")  # now it is known
        eventually(lambda: sorted(receiver.ask(Receiver.received)) == ["1", "2"])
        eventually(lambda: not outbox_of(storage, runtime.get(Sender, "2")))
        assert [event.kind for event in watch.of(KindUnknown)] == ["sender"]


def test_unknown_ones_hold_up_nobody(memory: Storage, clock: QuietClock) -> None:
    """Thousands that are due and can't be woken stand before one that can."""

    class Stranger(Agent):
        """Is known to another program only."""

    for n in range(2000):
        memory.put_checkpoint(f"stranger/{n}", {}, kind="stranger", wake_at=1.0)
    leave_messages(memory, clock, "1")
    with Runtime(memory, clock=clock, agents=[Sender, Receiver]) as runtime:
        receiver = runtime.get(Receiver, "b")
        eventually(lambda: receiver.ask(Receiver.received) == ["1"])
        assert len(memory.list_due(clock.time(), 5000)) >= 2000
    assert Stranger.agent_spec.kind == "stranger"


def test_who_is_still_due_after_its_tick_holds_up_nobody(
    memory: Storage, clock: QuietClock
) -> None:
    """Hundreds that a tick does nothing for stand before one with something to do."""
    for n in range(600):
        memory.put_checkpoint(f"receiver/{n}", {"got": []}, kind="receiver", wake_at=1.0)
    leave_messages(memory, clock, "1")
    with Runtime(memory, clock=clock, agents=[Sender, Receiver]) as runtime:
        clock.watch(runtime)
        receiver = runtime.get(Receiver, "b")
        eventually(lambda: receiver.ask(Receiver.received) == ["1"])
        clock.advance(0)  # comes to an end: they are not ticked again and again meanwhile
        assert len(memory.list_due(clock.time(), 5000)) == 600


def test_many_that_are_due_at_once(memory: Storage, clock: QuietClock) -> None:
    """More than one reading of the index brings are all woken, without another interval."""
    keys = [str(n) for n in range(600)]
    leave_messages(memory, clock, *keys)
    with Runtime(memory, clock=clock, agents=[Sender, Receiver]) as runtime:
        receiver = runtime.get(Receiver, "b")
        eventually(lambda: len(receiver.ask(Receiver.received)) == len(keys))


def test_ticks_that_are_over_before_their_reading(
    memory: Storage, clock: QuietClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents may be quicker than who wakes them: the rest is looked for all the same."""
    wake = Waker._wake_found

    def wake_slowly(waker: Waker, due: Sequence[Due]) -> set[str]:
        stuck = wake(waker, due)
        eventually(lambda: not waker._ticking)
        return stuck

    monkeypatch.setattr(Waker, "_wake_found", wake_slowly)
    keys = [str(n) for n in range(600)]
    leave_messages(memory, clock, *keys)
    with Runtime(memory, clock=clock, agents=[Sender, Receiver]) as runtime:
        receiver = runtime.get(Receiver, "b")
        eventually(lambda: len(receiver.ask(Receiver.received)) == len(keys))


def test_a_storage_that_is_away_is_asked_again(memory: Storage, clock: QuietClock) -> None:
    """A failing question is a warning, and is repeated (HC-27)."""
    leave_messages(memory, clock, "1")
    with FaultyStorage(memory) as storage:
        storage.fail_next("list_due")
        with Runtime(storage, clock=clock, agents=[Sender, Receiver]) as runtime:
            receiver = runtime.get(Receiver, "b")

            def come() -> bool:
                clock.advance(2)
                return receiver.ask(Receiver.received) == ["1"]

            eventually(come)
            assert storage.calls["list_due"] >= 2


def test_who_may_not_ask_wakes_its_own_only(memory: Storage, clock: QuietClock) -> None:
    """With ``wake_interval=None`` the storage is never asked who is due."""
    leave_messages(memory, clock, "1")
    with (
        FaultyStorage(memory) as storage,
        Runtime(storage, clock=clock, agents=[Sender, Receiver], wake_interval=None) as runtime,
    ):
        runtime.get(Sender, "2").ask(Sender.pass_on, "b", "2")
        receiver = runtime.get(Receiver, "b")
        eventually(lambda: receiver.ask(Receiver.received) == ["2"])
        clock.advance(100)
        assert storage.calls["list_due"] == 0
