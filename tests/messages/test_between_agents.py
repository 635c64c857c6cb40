"""What an agent sends inside its turn leaves if, and only if, the turn commits."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from tests.messages.kit import (
    Receiver,
    Sender,
    delivered,
    die_before,
    held,
    outbox_of,
    section_of,
    settled,
)
from tests.runtime.kit import begin, eventually
from torpor import (
    Agent,
    ConfigurationError,
    Hibernated,
    MailboxFullError,
    MessageDelivered,
    MessageFailed,
    Runtime,
    UnserializableError,
    hibernate,
    thaw,
)
from torpor.origin import REMEMBERED_SENDERS
from torpor.outbox import MAX_WAITING, put
from torpor.storage import Change, Put
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from tests.runtime.kit import Watch
    from tests.runtime.quiet import QuietClock
    from torpor.storage import Storage


def test_messages_arrive_once_and_in_order(runtime: Runtime, watch: Watch) -> None:
    """Each is applied once, in the order of its sender, and leaves the outbox."""
    sender = runtime.get(Sender, "a")
    receiver = runtime.get(Receiver, "b")

    sender.ask(Sender.pass_on, "b", "1", "2", "3")
    sender.ask(Sender.pass_on, "b", "4")

    delivered(watch, 4)
    assert receiver.ask(Receiver.received) == ["1", "2", "3", "4"]
    settled(runtime, sender)
    assert runtime.storage.list_due(float("1e12")) == []


def test_a_failed_turn_sends_nothing(runtime: Runtime, watch: Watch) -> None:
    """What a turn sent before it raised is taken back with its fields."""
    sender = runtime.get(Sender, "a")

    with pytest.raises(RuntimeError, match="mind"):
        sender.ask(Sender.pass_on, "b", "never", fail=True)
    sender.ask(Sender.pass_on, "b", "always")

    delivered(watch, 1)
    assert runtime.get(Receiver, "b").ask(Receiver.received) == ["always"]
    assert section_of(runtime.storage, sender)["sent"] == 1


def test_nothing_leaves_before_the_turn_is_durable(memory: Storage) -> None:
    """While the commit hangs, the receiver hears nothing; afterwards it does."""
    with FaultyStorage(memory) as storage, Runtime(storage) as runtime:
        receiver = runtime.get(Receiver, "b")
        with storage.hang_next("commit") as hang:
            turn = begin(lambda: runtime.get(Sender, "a").ask(Sender.pass_on, "b", "1"))
            assert hang.entered.wait(10)
            assert receiver.ask(Receiver.received) == []
        turn.result(10)
        eventually(lambda: receiver.ask(Receiver.received) == ["1"])


def test_an_async_handler_receives(runtime: Runtime, watch: Watch) -> None:
    """Async handlers are called like others."""

    class Asks(Agent):
        """Sends to an async handler."""

        def go(self) -> None:
            """Send."""
            self.runtime.get(Receiver, "b").send(Receiver.take_async, "awaited")

    runtime.get(Asks, "a").ask(Asks.go)
    delivered(watch, 1)
    assert runtime.get(Receiver, "b").ask(Receiver.received) == ["awaited"]


def test_to_itself(runtime: Runtime, watch: Watch) -> None:
    """An agent may send to itself: it is a later turn of its own."""

    class Loop(Agent):
        """Counts down by messages to itself."""

        left: int = 3

        def step(self) -> None:
            """Go on, one less."""
            self.left -= 1
            if self.left:
                self.ref.send(Loop.step)

        def read(self) -> int:
            """Return what is left."""
            return self.left

    loop = runtime.get(Loop, "a")
    loop.ask(Loop.step)
    delivered(watch, 2)
    assert loop.ask(Loop.read) == 0


def test_a_failing_handler_is_tried_again_and_holds_those_behind(
    runtime: Runtime, clock: QuietClock, watch: Watch
) -> None:
    """Its turn is rolled back; after the back-off it is tried again; order is kept."""
    Receiver.broken.add("2")
    runtime.get(Sender, "a").ask(Sender.pass_on, "b", "1", "2", "3")
    runtime.get(Sender, "a").ask(Sender.pass_on, "c", "other")
    [failure] = watch.wait(MessageFailed)
    assert (failure.agent, failure.target, failure.failures) == ("sender/a", "agent:receiver/b", 1)
    assert failure.retry_at == clock.time() + 1
    delivered(watch, 2)
    assert runtime.get(Receiver, "b").ask(Receiver.received) == ["1"]

    Receiver.broken.clear()
    eventually(lambda: held(runtime, runtime.get(Sender, "a")))
    clock.advance(1)
    delivered(watch, 4)
    assert runtime.get(Receiver, "b").ask(Receiver.received) == ["1", "2", "3"]


def test_another_process_takes_over_what_a_dead_one_has_not_sent(
    storage: Storage, clock: QuietClock
) -> None:
    """The sender's ``wake_at`` brings its outbox to whoever polls next; nobody calls it."""
    with Runtime(storage, clock=clock) as first:
        die_before(first.manager.courier, "send")
        first.get(Sender, "a").ask(Sender.pass_on, "b", "1", "2")
        assert len(outbox_of(storage, first.get(Sender, "a"))) == 2

    clock.advance(30)
    with Runtime(storage, clock=clock, agents=[Sender, Receiver]) as second:
        eventually(lambda: second.get(Receiver, "b").ask(Receiver.received) == ["1", "2"])
        settled(second, second.get(Sender, "a"))


def test_what_is_sent_again_is_applied_once(storage: Storage, clock: QuietClock) -> None:
    """A crash between the receiver's commit and the sender's doubles nothing (HC-8, HC-17)."""
    with Runtime(storage, clock=clock, agents=[Receiver]) as first:
        die_before(first.manager.courier, "_done")
        first.get(Sender, "a").ask(Sender.pass_on, "b", "1", "2")
        eventually(lambda: first.get(Receiver, "b").ask(Receiver.received) == ["1", "2"])
        assert len(outbox_of(storage, first.get(Sender, "a"))) == 2

    clock.advance(30)
    with Runtime(storage, clock=clock, agents=[Sender, Receiver]) as second:
        settled(second, second.get(Sender, "a"))
        assert second.get(Receiver, "b").ask(Receiver.received) == ["1", "2"]


def test_the_newest_copy_counts(memory: Storage) -> None:
    """A conflict has the sending turn run again: what it sent the first time never leaves."""
    with Runtime(memory) as one, Runtime(memory) as other:
        for _ in range(5):
            one.get(Sender, "a").ask(Sender.pass_on, "b", "x")
            other.get(Sender, "a").ask(Sender.pass_on, "b", "x")
        eventually(
            lambda: len(one.get(Receiver, "b").options(fresh=True).ask(Receiver.received)) == 10
        )
        for runtime in (one, other):
            settled(runtime, runtime.get(Sender, "a"))
        assert len(one.get(Receiver, "b").options(fresh=True).ask(Receiver.received)) == 10


def test_a_deleted_sender_begins_a_new_life(runtime: Runtime, watch: Watch) -> None:
    """Its successor's messages are not taken for those of before."""
    sender = runtime.get(Sender, "a")
    sender.ask(Sender.pass_on, "b", "1", "2")
    delivered(watch, 2)
    settled(runtime, sender)
    sender.delete()
    sender.ask(Sender.pass_on, "b", "3")

    delivered(watch, 3)
    assert runtime.get(Receiver, "b").ask(Receiver.received) == ["1", "2", "3"]


def test_everything_survives_hibernation_after_every_message(storage: Storage) -> None:
    """Outbox and marks are in the record, not in memory (always_thaw)."""
    with Runtime(storage, always_thaw=True) as runtime:
        for n in range(5):
            runtime.get(Sender, "a").ask(Sender.pass_on, "b", str(n))
        receiver = runtime.get(Receiver, "b")
        eventually(lambda: receiver.ask(Receiver.received) == ["0", "1", "2", "3", "4"])
        settled(runtime, runtime.get(Sender, "a"))


def test_bookkeeping_keeps_nobody_awake(runtime: Runtime, clock: QuietClock, watch: Watch) -> None:
    """That a message has arrived is noted in the sender's record, and is no message to it."""
    sender = runtime.get(Sender, "a")
    Receiver.broken.add("1")
    sender.ask(Sender.pass_on, "b", "1")
    for second in (1, 2, 4, 8, 16):
        failures = len(watch.wait(MessageFailed))
        eventually(lambda: held(runtime, sender))
        clock.advance(second)
        watch.wait(MessageFailed, failures + 1)
    eventually(lambda: held(runtime, sender))
    clock.advance(30)
    watch.wait(Hibernated)
    assert "sender/a" in {event.agent for event in watch.of(Hibernated)}


def test_a_detached_copy_keeps_what_the_runtime_keeps(storage: Storage, clock: QuietClock) -> None:
    """``thaw`` and ``hibernate`` of a copy touch the fields alone, and lose no message."""
    with Runtime(storage, clock=clock) as runtime:
        die_before(runtime.manager.courier, "send")
        runtime.get(Sender, "a").ask(Sender.pass_on, "b", "1")
        before = storage.get_checkpoint("sender/a")

    copy = thaw(storage, Sender, "a")
    assert copy is not None
    copy.sent = 100
    hibernate(storage, copy)

    after = storage.get_checkpoint("sender/a")
    assert before is not None
    assert after is not None
    assert after.value == before.value | {"sent": 100}
    assert after.wake_at == before.wake_at


def test_agents_that_send_nothing_pay_nothing(runtime: Runtime) -> None:
    """Their records are what they were: fields, and no ``wake_at``."""
    runtime.get(Sender, "a").ask(Sender.pass_on, "b")
    receiver = runtime.get(Receiver, "b")
    receiver.ask(Receiver.take, "told")
    checkpoint = runtime.storage.get_checkpoint("receiver/b")
    assert checkpoint is not None
    assert (checkpoint.data, checkpoint.wake_at) == ('{"got":["told"]}', None)


class Typed(Agent):
    """Takes what JSON has no word for, by its annotations."""

    seen: list[str] = []  # noqa: RUF012 - pydantic copies it

    def take(self, when: dt.date, raw: bytes, rest: float = 1.0, *, odd: set[int]) -> None:
        """Keep the arguments as they came."""
        self.seen.append(repr((when, raw, rest, odd)))

    def take_anything(self, value: object) -> None:
        """Keep plain data."""
        self.seen.append(repr(value))

    def received(self) -> list[str]:
        """Return what came."""
        return self.seen


def test_arguments_travel_by_their_annotations(runtime: Runtime, watch: Watch) -> None:
    """What the annotation can take to JSON and back arrives as it was."""

    class Asks(Agent):
        """Sends."""

        def go(self) -> None:
            """Send."""
            other = self.runtime.get(Typed, "b")
            other.send(Typed.take, dt.date(2026, 11, 21), b"\xff\x00", odd={1, 3})
            other.send(Typed.take_anything, {"a": [1, None, "é"]})

    runtime.get(Asks, "a").ask(Asks.go)
    delivered(watch, 2)
    assert runtime.get(Typed, "b").ask(Typed.received) == [
        repr((dt.date(2026, 11, 21), b"\xff\x00", 1.0, {1, 3})),
        repr({"a": [1, None, "é"]}),
    ]


@pytest.mark.parametrize("value", [1j, {1}, b"x", dt.date(2026, 1, 1)], ids=repr)
def test_what_has_no_json_form_is_refused_at_the_sender(memory: Storage, value: object) -> None:
    """One typed error, in the turn; nothing was sent."""
    with Runtime(memory) as runtime, pytest.raises(UnserializableError, match="take_anything"):
        runtime.get(Typed, "b").send(Typed.take_anything, value)


@pytest.mark.parametrize("durability", ["interval", "hibernate", "none"])
def test_who_is_not_saved_after_each_turn_cannot_receive(memory: Storage, durability: str) -> None:
    """It could not say in the same commit that it has applied a message."""

    class Lax(Agent, durability=durability):
        """Is saved later."""

        def take(self) -> None:
            """Do nothing."""

    with Runtime(memory) as runtime, pytest.raises(ConfigurationError, match=durability):
        runtime.get(Lax, "a").send(Lax.take)


def test_who_is_never_saved_cannot_send(memory: Storage) -> None:
    """Its outbox would be nowhere."""
    with (
        Runtime(memory, durability="none") as runtime,
        pytest.raises(ConfigurationError, match="none"),
    ):
        runtime.get(Sender, "a").ask(Sender.pass_on, "b", "1")


def test_only_a_turn_has_an_outbox() -> None:
    """``put`` outside of turns has nowhere to write to."""
    with pytest.raises(ConfigurationError, match="inside its turn"):
        put("agent:b", {})


def test_an_outbox_is_bounded(memory: Storage) -> None:
    """Who sends faster than anybody takes is told so, and its turn is rolled back (HC-22)."""

    class Flood(Agent):
        """Sends and sends."""

        def go(self, count: int) -> None:
            """Send ``count`` messages."""
            for n in range(count):
                put("nowhere:x", n)

    with Runtime(memory) as runtime:
        flood = runtime.get(Flood, "a")
        flood.ask(Flood.go, MAX_WAITING)
        with pytest.raises(MailboxFullError, match="wait to be delivered"):
            flood.ask(Flood.go, 1)


def test_events_name_both_ends(runtime: Runtime, watch: Watch) -> None:
    """A delivery tells receiver, sender and id."""
    [sent] = runtime.get(Sender, "a").ask(Sender.pass_on, "b", "1")
    assert delivered(watch, 1) == [MessageDelivered("receiver/b", "sender/a", sent)]


def test_marks_are_bounded(memory: Storage, clock: QuietClock) -> None:
    """A receiver forgets senders that were not heard of for a week, when there are thousands."""
    old, new = "old", clock.time() - 60.0
    marks = {
        f"sender/{n}": [old, 1, 1.0 if n < 50 else new] for n in range(REMEMBERED_SENDERS + 80)
    }
    document = json.dumps({"$torpor": {"v": 1, "inbox": marks}, "got": []}, separators=(",", ":"))
    change = Change(key="receiver/b", put=Put(data=document, kind="receiver"))
    memory.commit([change])
    with Runtime(memory, clock=clock) as runtime:
        runtime.get(Sender, "a").ask(Sender.pass_on, "b", "1")
        eventually(lambda: runtime.get(Receiver, "b").ask(Receiver.received) == ["1"])
        kept = section_of(memory, runtime.get(Receiver, "b"))["inbox"]
    assert kept.keys() == {f"sender/{n}" for n in range(50, len(marks))} | {"sender/a"}
