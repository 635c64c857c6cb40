"""What the tests of durable messages share: agents that send, and agents that keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tests.runtime.kit import Watch, eventually
from torpor import Agent, MessageDelivered

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.quiet import QuietClock
    from torpor import AgentRef, Runtime
    from torpor.storage import Storage

__all__ = [
    "Receiver",
    "Sender",
    "delivered",
    "die_before",
    "held",
    "outbox_of",
    "section_of",
    "settled",
    "until",
]


class Receiver(Agent):
    """Keeps what it gets, in order."""

    got: list[str] = []  # noqa: RUF012 - pydantic copies it

    broken: ClassVar[set[str]] = set()
    """What makes it fail; of all receivers, and not saved."""

    def take(self, text: str) -> None:
        """Keep ``text``, or fail."""
        self.got.append(text)
        if text in self.broken:
            raise LookupError(text)

    async def take_async(self, text: str) -> None:
        """Keep ``text``."""
        self.got.append(text)

    def received(self) -> list[str]:
        """Return what came so far."""
        return [*self.got]  # a copy: later turns go on with the list itself


class Sender(Agent):
    """Sends what it is told to, and counts."""

    sent: int = 0

    def pass_on(self, key: str, *texts: str, fail: bool = False) -> list[str]:
        """Send each text to the receiver ``key``; return the ids."""
        receiver = self.runtime.get(Receiver, key)
        ids = [receiver.send(Receiver.take, text) for text in texts]
        self.sent += len(texts)
        if fail:
            msg = "changed its mind"
            raise RuntimeError(msg)
        return ids


def section_of(storage: Storage, ref: AgentRef[Any]) -> dict[str, Any]:
    """Return what the runtime keeps in an agent's record."""
    checkpoint = storage.get_checkpoint(ref.address)
    return {} if checkpoint is None else checkpoint.value.get("$torpor", {})


def outbox_of(storage: Storage, ref: AgentRef[Any]) -> list[Any]:
    """Return the messages that wait in an agent's record."""
    outbox: list[Any] = section_of(storage, ref).get("outbox", [])
    return outbox


def delivered(watch: Watch, count: int) -> list[MessageDelivered]:
    """Return the deliveries, once there are ``count``."""
    return watch.wait(MessageDelivered, count)


def settled(runtime: Runtime, ref: AgentRef[Any]) -> None:
    """Wait until all messages of an agent have arrived and are out of its record."""
    eventually(lambda: not outbox_of(runtime.storage, ref))


def held(runtime: Runtime, ref: AgentRef[Any]) -> bool:
    """Return whether an agent's oldest message came back and is put off."""
    return bool(outbox_of(runtime.storage, ref)[0].get("held"))


def die_before(part: object, step: str) -> None:
    """Have a part of the runtime leave out a step, as if the process had been killed before it."""

    def nothing(*_: object) -> None:
        """Do nothing."""

    setattr(part, step, nothing)


def until(clock: QuietClock, ready: Callable[[], bool]) -> None:
    """Let time pass, in steps, until something is so."""

    def look() -> bool:
        if ready():
            return True
        clock.advance(20)
        return False

    eventually(look)
