"""The outbox of an agent: messages that leave if, and only if, the turn that wrote them commits.

The contract, for whoever sends through it or delivers from it:

*   ``put(target, payload)`` inside a turn writes a message into the agent's own record. It is
    saved with the turn, in the same change; if the turn fails it is gone.
*   Once that change is durable, the ``Deliverer`` registered for the target's scheme gets it:
    ``"agent:cart/7"`` has the scheme ``agent``. ``Runtime.deliver_by`` registers one.
*   Messages of one sender to one target are handed over in the order in which they were put,
    in batches. The next batch may come before the previous one is done; each message names its
    predecessor, if that one may not have been applied yet, in ``after``.
*   The deliverer calls ``done(message, None)`` once the message is durable at its target, or
    ``done(message, error)`` if it is not; for each message exactly once, on any thread.
*   A message is removed by a later commit of its sender, so it may be handed over again: after a
    crash, by another process, or after ``done`` with an error. ``(sender, life, seq)`` is the
    same each time; the target applies it once by remembering the newest ``seq`` of each sender
    and ``life``. ``seq`` grows; it has gaps.
*   After an error it is tried again with back-off, and those behind it for the same target wait.
    Errors of ``TRANSIENT`` count for nothing, and the older the message is the longer it waits;
    after ``MAX_FAILURES`` others it becomes a dead letter, kept in the sender's record, and the
    next one is tried.
*   The sender's ``wake_at`` is due while anything waits, so that a crash forgets nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from torpor.storage import codec
from torpor.storage.errors import (
    AgentPausedError,
    CallTimeoutError,
    ConfigurationError,
    ConflictError,
    MailboxFullError,
    RuntimeStoppedError,
    SaveError,
    StorageUnavailableError,
    TorporError,
    TurnCancelledError,
    UnknownKindError,
    WorkersExhaustedError,
)
from torpor.turn import current_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "LEASE",
    "LONGEST_RETRY",
    "MAX_FAILURES",
    "MAX_WAITING",
    "TRANSIENT",
    "Deliverer",
    "EarlyMessageError",
    "OutboxMessage",
    "Outgoing",
    "describe",
    "lanes",
    "put",
    "retry_in",
]

MAX_FAILURES = 10
"""How often a message may fail before it becomes a dead letter: after 9 minutes by default."""

MAX_WAITING = 10_000
"""How many messages may wait in one agent's outbox."""

LEASE = 10.0
"""Seconds after which a message that was not heard of is looked after again."""

LONGEST_RETRY = 300.0
"""Seconds after which at the latest what waits is looked after again."""

_FIRST_RETRY = 1.0

TRANSIENT = (
    AgentPausedError,
    CallTimeoutError,
    ConflictError,
    MailboxFullError,
    RuntimeStoppedError,
    SaveError,
    StorageUnavailableError,
    TurnCancelledError,
    UnknownKindError,
    WorkersExhaustedError,
)
"""Errors that say nothing against the message itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxMessage:
    """One message as its sender's record holds it. ``payload`` is JSON data.

    ``due``: when it is to be looked after if nothing was heard of it. ``held``: it came back,
    and waits until then. ``failures`` counts how often it failed for a reason of its own.
    """

    seq: int
    target: str
    payload: Any
    at: float
    due: float
    held: bool = False
    failures: int = 0
    error: str | None = None

    def put_off(self, error: BaseException, now: float) -> OutboxMessage:
        """Return it as it is after it came back with ``error``."""
        if isinstance(error, TRANSIENT):  # a receiver that is away for a day costs no more
            failures, wait = self.failures, max((now - self.at) / 10, _FIRST_RETRY)
        else:
            failures = self.failures + 1
            wait = retry_in(failures)
        due = now + min(wait, LONGEST_RETRY)
        return replace(self, held=True, failures=failures, due=due, error=describe(error))

    def renewed(self, now: float) -> OutboxMessage:
        """Return it as it is when it is sent again, or looked after while it is under way."""
        lease = min(max(now - self.at, LEASE), LONGEST_RETRY)
        return replace(self, held=False, due=now + lease)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message on its way. ``sender`` is an address; ``after`` the ``seq`` it must follow."""

    sender: str
    life: str
    seq: int
    target: str
    payload: Any
    at: float
    after: int | None = None

    @property
    def id(self) -> str:
        """What tells this message from every other."""
        return f"{self.life}-{self.seq}"


class EarlyMessageError(TorporError):
    """One before it has not been applied yet: it is sent again behind that. Counts for nothing."""


class Deliverer(Protocol):
    """Brings messages to targets of one scheme. See the module for the contract."""

    def deliver(
        self,
        messages: Sequence[Outgoing],
        done: Callable[[Outgoing, BaseException | None], None],
    ) -> None:
        """Hand over messages of one sender to one target, in order, without blocking for long."""
        ...


def put(target: str, payload: Any) -> str:
    """Write a message into the outbox of the agent whose turn this is; return its id.

    ``target`` is ``scheme:rest``, ``payload`` plain JSON data (copied). Raises
    ``ConfigurationError`` outside of a turn or if the agent's class is never saved
    (``durability="none"``), ``UnserializableError``, and ``MailboxFullError`` if 10,000
    messages wait already.
    """
    turn = current_turn()
    if turn is None:
        msg = "only an agent has an outbox: put() is for code that runs inside its turn"
        raise ConfigurationError(msg)
    actor = turn.activation
    if actor.registration.options.durability == "none":
        msg = f"{actor.address} is never saved (durability='none'): it cannot send durably"
        raise ConfigurationError(msg)
    copied = json.loads(codec.dumps(payload, f"the message to {target!r}"))
    return actor.runtime_state().send(target, copied, actor.manager.clock.time())


def lanes(messages: Iterable[OutboxMessage]) -> dict[str, list[OutboxMessage]]:
    """Return messages by target, in order: only within a lane they wait for each other."""
    found: dict[str, list[OutboxMessage]] = {}
    for message in messages:
        found.setdefault(message.target, []).append(message)
    return found


def retry_in(failures: int) -> float:
    """Return the seconds to wait after so many failures: 1, 2, 4 … 300."""
    doublings = min(max(failures - 1, 0), 10)  # a message may wait, and fail, for years
    return min(_FIRST_RETRY * 2.0**doublings, LONGEST_RETRY)


def describe(error: BaseException) -> str:
    """Return an error in one line for the record: its type, and the begin of its message."""
    return f"{type(error).__name__}: {error}"[:500]
