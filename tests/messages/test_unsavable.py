"""Messages whose turns the storage can't take: none is lost, each comes to an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.messages.kit import Receiver, outbox_of, until
from tests.runtime.kit import Watch
from torpor import Agent, ConflictDetected, CorruptRecordError, MessageFailed, Runtime, ThawFailed
from torpor.outbox import MAX_FAILURES
from torpor.storage.errors import RecordTooLargeError
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.runtime.quiet import QuietClock
    from torpor import AgentRef
    from torpor.storage import Storage
    from torpor.storage.memory import MemoryStorage

_ROOM = 2000


class Swelling(Agent):
    """Keeps more than it is told."""

    got: list[str] = []  # noqa: RUF012 - pydantic copies it

    def take(self, text: str, times: int = 1) -> None:
        """Keep ``text`` so many times over."""
        self.got.append(text * times)


class Sending(Agent):
    """Sends what is too large."""

    sent: int = 0

    def pass_on(self) -> Any:
        """Send it."""
        self.sent += 1
        return self.runtime.get(Swelling, "b").send(Swelling.take, "x", _ROOM)


@pytest.fixture
def small(memory: MemoryStorage, clock: QuietClock) -> Iterator[Runtime]:
    """Return a runtime on a storage of small records."""
    memory.max_document_bytes = _ROOM
    with Runtime(memory, clock=clock, agents=[Swelling, Sending]) as runtime:
        clock.watch(runtime)
        yield runtime


def stored(storage: Storage, ref: AgentRef[Any]) -> list[str]:
    """Return what an agent has kept; no call, which would wait while time stands still."""
    checkpoint = storage.get_checkpoint(ref.address)
    return [] if checkpoint is None else checkpoint.value["got"]


def mail_is_done(storage: Storage) -> bool:
    """Return whether all mail of the swelling agent has been trimmed."""
    head = storage.thread_head("$mail/swelling/b")
    return head is not None and head.start == head.rev


def test_mail_is_put_off_given_up_and_the_next_one_applied(
    small: Runtime, clock: QuietClock
) -> None:
    """A turn that does not fit is a failure of its message like any other (HC-23, HC-35)."""
    receiver, watch = small.get(Swelling, "b"), Watch(small)
    receiver.send(Swelling.take, "first")
    big = receiver.send(Swelling.take, "x", _ROOM)
    receiver.send(Swelling.take, "third")
    until(clock, lambda: stored(small.storage, receiver) == ["first", "third"])

    failures = watch.of(MessageFailed)
    assert [event.failures for event in failures] == list(range(1, MAX_FAILURES))
    assert {(type(event.error), event.id) for event in failures} == {(RecordTooLargeError, big)}
    [letter] = receiver.dead_letters()
    assert (letter.id, letter.failures) == (big, MAX_FAILURES)
    until(clock, lambda: mail_is_done(small.storage))


def test_mail_waits_if_not_even_its_dead_letter_fits(
    small: Runtime, memory: MemoryStorage, clock: QuietClock
) -> None:
    """Then it is never given up, and applied once there is room (HC-35)."""
    receiver, watch = small.get(Swelling, "b"), Watch(small)
    receiver.ask(Swelling.take, "x" * (_ROOM // 2))
    receiver.send(Swelling.take, "y" * (_ROOM // 2))
    until(clock, lambda: len(watch.of(MessageFailed)) > MAX_FAILURES)
    assert watch.of(MessageFailed)[-1].retry_at > clock.time() + 200
    assert receiver.dead_letters() == []
    assert not mail_is_done(small.storage)

    memory.max_document_bytes = None
    until(clock, lambda: len(stored(small.storage, receiver)) == 2)
    until(clock, lambda: mail_is_done(small.storage))


def test_mail_is_not_trimmed_with_a_thaw_that_fails_after_a_conflict(
    memory: MemoryStorage, clock: QuietClock
) -> None:
    """Its turn was to be run again and could not be: it has not been applied (HC-4, HC-23)."""
    with (
        FaultyStorage(memory) as storage,
        Runtime(storage, clock=clock, agents=[Receiver]) as runtime,
    ):
        clock.watch(runtime)
        receiver, watch = runtime.get(Receiver, "b"), Watch(runtime)
        receiver.ask(Receiver.take, "0")
        storage.conflict_next(keys=[receiver.address])
        error = CorruptRecordError(receiver.address, "for a moment")
        storage.fail_next("read", keys=[receiver.address], error=error)
        receiver.send(Receiver.take, "1")
        until(clock, lambda: bool(watch.of(ThawFailed)))
        assert watch.of(ConflictDetected)

        until(clock, lambda: stored(memory, receiver) == ["0", "1"])


def test_a_message_of_an_agent_is_given_up_by_its_sender(small: Runtime, clock: QuietClock) -> None:
    """A receiver whose record does not take it counts as one that fails (HC-23, HC-35)."""
    sender, watch = small.get(Sending, "a"), Watch(small)
    sender.ask(Sending.pass_on)
    until(clock, lambda: bool(sender.dead_letters()))

    assert len(watch.of(MessageFailed)) == MAX_FAILURES - 1
    assert stored(small.storage, small.get(Swelling, "b")) == []
    until(clock, lambda: outbox_of(small.storage, sender) == [])
