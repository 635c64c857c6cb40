"""``send`` outside of any agent: durable before it returns, applied once, in order."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.messages.kit import Receiver, Sender, delivered, die_before, section_of
from tests.runtime.kit import Watch, eventually
from torpor import (
    BlockingCallError,
    InvalidArgumentsError,
    MessageDelivered,
    MessageFailed,
    Runtime,
    StorageUnavailableError,
    UnknownMethodError,
)
from torpor.outbox import MAX_FAILURES
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.quiet import QuietClock
    from torpor.storage import Storage


def test_messages_arrive_once_and_in_order(runtime: Runtime, watch: Watch) -> None:
    """Each is applied, in the order in which they were sent, and trimmed away."""
    receiver = runtime.get(Receiver, "b")
    ids = [receiver.send(Receiver.take, str(n)) for n in range(5)]

    events = delivered(watch, 5)
    assert events == [MessageDelivered("receiver/b", None, sent) for sent in ids]
    assert receiver.ask(Receiver.received) == ["0", "1", "2", "3", "4"]
    eventually(lambda: runtime.storage.list_due(float("1e12")) == [])
    head = runtime.storage.thread_head("$mail/receiver/b")
    assert head is not None
    assert (head.start, head.rev) == (5, 5)


def test_it_is_durable_before_it_returns(storage: Storage, clock: QuietClock) -> None:
    """The receiver's process is another one: it finds the message, and applies it once."""
    with Runtime(storage, clock=clock) as first:
        die_before(first.manager.waker, "saved")
        first.get(Receiver, "b").send(Receiver.take, "late")
        assert storage.thread_head("$mail/receiver/b") is not None
    with Runtime(storage, clock=clock, agents=[Receiver]) as second:
        receiver = second.get(Receiver, "b")
        eventually(lambda: receiver.ask(Receiver.received) == ["late"])
        eventually(lambda: storage.list_due(float("1e12")) == [])


def test_what_was_not_trimmed_is_not_applied_again(storage: Storage, clock: QuietClock) -> None:
    """A crash after the receiver's commit: the cursor is in its record (exactly once)."""
    with Runtime(storage, clock=clock) as first:
        die_before(first.manager.mail, "_tidy")
        receiver = first.get(Receiver, "b")
        receiver.send(Receiver.take, "1")
        eventually(lambda: receiver.ask(Receiver.received) == ["1"])
        assert storage.list_due(float("1e12")) != []
    with Runtime(storage, clock=clock, agents=[Receiver]) as second:
        eventually(lambda: storage.list_due(float("1e12")) == [])
        assert second.get(Receiver, "b").ask(Receiver.received) == ["1"]


def test_what_was_applied_is_not_applied_after_a_delete(
    storage: Storage, clock: QuietClock
) -> None:
    """The cursor goes with the record, so what it covers goes first (HC-30)."""
    with Runtime(storage, clock=clock, agents=[Receiver]) as runtime:
        mail, watch = runtime.manager.mail, Watch(runtime)
        tidy = mail._tidy
        die_before(mail, "_tidy")
        receiver = runtime.get(Receiver, "b")
        receiver.send(Receiver.take, "1")
        delivered(watch, 1)
        mail._tidy = tidy  # type: ignore[method-assign]

        receiver.delete()
        receiver.send(Receiver.take, "2")
        delivered(watch, 2)
        assert receiver.ask(Receiver.received) == ["2"]


def test_an_agent_stays_if_its_mail_can_not_be_trimmed(memory: Storage) -> None:
    """Without its record it would not be known what it has applied (HC-30)."""
    with FaultyStorage(memory) as storage, Runtime(storage, agents=[Receiver]) as runtime:
        mail, watch = runtime.manager.mail, Watch(runtime)
        die_before(mail, "_tidy")
        receiver = runtime.get(Receiver, "b")
        receiver.send(Receiver.take, "1")
        delivered(watch, 1)
        storage.fail_next("commit", keys=["$mail/receiver/b"])
        with pytest.raises(StorageUnavailableError):
            receiver.delete()
        assert receiver.ask(Receiver.received) == ["1"]
        receiver.delete()
        assert receiver.ask(Receiver.received) == []


def test_an_id_of_ones_own(runtime: Runtime, watch: Watch) -> None:
    """Who can't know whether a message was stored sends it again, with the same id (HC-9)."""
    receiver = runtime.get(Receiver, "b").options(message_id="order 17")
    assert receiver.send(Receiver.take, "first") == "order 17"
    delivered(watch, 1)
    receiver.send(Receiver.take, "again")
    receiver.options(message_id="order 18").send(Receiver.take, "other")

    eventually(lambda: receiver.ask(Receiver.received) == ["first", "other"])
    assert section_of(runtime.storage, receiver)["mail"]["ids"] == ["order 17", "order 18"]


def test_a_failing_handler_is_tried_again_and_holds_those_behind(
    runtime: Runtime, clock: QuietClock, watch: Watch
) -> None:
    """Order is kept over failures; what failed is rolled back."""
    receiver = runtime.get(Receiver, "b")
    Receiver.broken.add("1")
    receiver.send(Receiver.take, "1")
    receiver.send(Receiver.take, "2")
    [failure] = watch.wait(MessageFailed)
    assert failure.retry_at == clock.time() + 1
    assert receiver.ask(Receiver.received) == []
    due = runtime.storage.list_due
    eventually(lambda: [item.wake_at for item in due(float("1e12"))] == [clock.time() + 1])

    Receiver.broken.clear()
    clock.advance(1)
    delivered(watch, 2)
    assert receiver.ask(Receiver.received) == ["1", "2"]


def test_from_async_code(memory: Storage) -> None:
    """``await asend`` there; ``send`` would block the loop."""

    async def main() -> None:
        async with Runtime(memory) as runtime:
            watch, receiver = Watch(runtime), runtime.get(Receiver, "b")
            with pytest.raises(BlockingCallError, match="asend"):
                receiver.send(Receiver.take, "1")
            assert await receiver.asend(Receiver.take_async, "1")
            await asyncio.to_thread(watch.wait, MessageDelivered)
            assert await receiver.submit(Receiver.received) == ["1"]

    asyncio.run(main())


def test_a_storage_that_is_away_is_told(memory: Storage) -> None:
    """The message is not stored, and its sender knows that it may not be."""
    with FaultyStorage(memory) as storage, Runtime(storage) as runtime:
        receiver = runtime.get(Receiver, "b")
        storage.fail_next("commit", after=True)
        receiver.send(Receiver.take, "1")  # sent again by itself: the same change, stored once
        eventually(lambda: receiver.ask(Receiver.received) == ["1"])


def test_mail_that_can_not_be_read_now_is_read_later(memory: Storage, clock: QuietClock) -> None:
    """A failing read disturbs nothing; the mail stays due."""
    with (
        FaultyStorage(memory) as storage,
        Runtime(storage, clock=clock, agents=[Receiver]) as runtime,
    ):
        receiver = runtime.get(Receiver, "b")
        assert receiver.ask(Receiver.received) == []
        storage.fail_next("read_entries")
        receiver.send(Receiver.take, "1")
        eventually(lambda: storage.calls["read_entries"] == 1)
        assert receiver.ask(Receiver.received) == []
        eventually(lambda: not runtime.manager.waker._ticking)
        clock.advance(2)
        eventually(lambda: receiver.ask(Receiver.received) == ["1"])


def test_wrong_calls_fail_where_they_are_made(memory: Storage) -> None:
    """Nothing is stored of them."""
    with Runtime(memory) as runtime:
        receiver = runtime.get(Receiver, "b")
        with pytest.raises(InvalidArgumentsError):
            receiver.send(Receiver.take)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        with pytest.raises(UnknownMethodError):
            receiver.send(Sender.pass_on, "b")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        assert memory.thread_head("$mail/receiver/b") is None


def test_long_addresses(memory: Storage) -> None:
    """An address as long as a storage takes has mail too."""
    with Runtime(memory) as runtime:
        receiver = runtime.get(Receiver, "k" * 500)
        receiver.send(Receiver.take, "1")
        eventually(lambda: receiver.ask(Receiver.received) == ["1"])


def test_dead_letters(memory: Storage, clock: QuietClock) -> None:
    """After ten failures a message is kept aside, and the next one is tried."""
    with Runtime(memory, clock=clock) as runtime:
        clock.watch(runtime)
        receiver = runtime.get(Receiver, "b")
        Receiver.broken.add("1")
        sent = receiver.send(Receiver.take, "1")
        receiver.send(Receiver.take, "2")
        for failures in range(1, MAX_FAILURES):
            due = clock.time() + min(2 ** (failures - 1), 300)
            eventually(
                lambda at=due: [d.wake_at for d in memory.list_due(float("1e12"))] == [at]  # type: ignore[misc]
            )
            clock.advance(due - clock.time())
        eventually(lambda: receiver.ask(Receiver.received) == ["2"])
        [letter] = receiver.dead_letters()
        assert (letter.id, letter.sender, letter.failures) == (sent, None, MAX_FAILURES)
        assert letter.error == "LookupError: 1"
        assert list(runtime.dead_letters()) == [("receiver/b", letter)]
        assert receiver.purge_dead_letters("unknown") == 0
        assert receiver.purge_dead_letters(sent) == 1
        assert list(runtime.dead_letters()) == []


def test_a_runtime_stops_after_its_last_jobs(
    empty_place: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    """Mail is trimmed behind the last turn: the storage is closed only when that is done."""
    url = empty_place("sqlite")
    for number in range(20):
        with Runtime(url, agents=[Receiver]) as runtime:
            runtime.get(Receiver, "a").send(Receiver.take, f"{number}")
            runtime.get(Receiver, "a").ask(Receiver.received)

    assert "closed" not in caplog.text
