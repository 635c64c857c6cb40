"""What happens to agents, told to whoever listens."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "AgentEvent",
    "AgentPaused",
    "AgentRestarted",
    "AgentResumed",
    "ConflictDetected",
    "DeadLetter",
    "Events",
    "Hibernated",
    "HibernationReason",
    "HookFailed",
    "KindUnknown",
    "MessageDelivered",
    "MessageDied",
    "MessageFailed",
    "SaveFailed",
    "ScheduleFailed",
    "ScheduleFired",
    "ScheduleMissed",
    "ThawFailed",
    "Thawed",
]

logger = logging.getLogger("torpor")


class HibernationReason(Enum):
    """Why an agent left memory. DISCARDED: a failed turn could not be rolled back in memory."""

    IDLE = "idle"
    EVICTED = "evicted"
    REQUESTED = "requested"
    STOPPED = "stopped"
    ALWAYS_THAW = "always_thaw"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """Base of all events. ``agent`` is the address: ``kind/key``."""

    agent: str


@dataclass(frozen=True, slots=True)
class Thawed(AgentEvent):
    """The agent came into memory; ``fresh`` if it had no checkpoint."""

    fresh: bool
    rev: int


@dataclass(frozen=True, slots=True)
class Hibernated(AgentEvent):
    """The agent left memory; everything of it that its durability keeps is saved."""

    reason: HibernationReason


@dataclass(frozen=True, slots=True)
class ConflictDetected(AgentEvent):
    """Another process wrote the agent. ``lost_turns`` were answered already and are dropped."""

    expected: int
    found: int
    lost_turns: int


@dataclass(frozen=True, slots=True)
class SaveFailed(AgentEvent):
    """A save failed and will be sent again; ``attempt`` counts from 1."""

    error: BaseException
    attempt: int


@dataclass(frozen=True, slots=True)
class ThawFailed(AgentEvent):
    """The stored agent could not be brought back; nothing was changed."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class HookFailed(AgentEvent):
    """A hook raised; what it had changed is undone."""

    hook: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class DeadLetter(AgentEvent):
    """A ``tell`` that nobody will answer for: its handler failed, or it was never run."""

    method: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class MessageDelivered(AgentEvent):
    """A durable message was applied by ``agent``, its receiver.

    ``sender`` is an address, None if the message was sent from outside of any agent.
    """

    sender: str | None
    id: str


@dataclass(frozen=True, slots=True)
class MessageFailed(AgentEvent):
    """A durable message could not be applied, and will be tried again at ``retry_at``.

    ``agent`` keeps it: its sender, or its receiver if it was sent from outside of any agent.
    ``failures`` counts those that were not transient.
    """

    target: str
    id: str
    error: BaseException
    failures: int
    retry_at: float


@dataclass(frozen=True, slots=True)
class MessageDied(AgentEvent):
    """A durable message failed too often; ``agent`` keeps it among its dead letters."""

    target: str
    id: str
    error: str


@dataclass(frozen=True, slots=True)
class ScheduleFired(AgentEvent):
    """A schedule's handler has run, and what it did is as durable as the class's turns are."""

    schedule: str
    tick: str


@dataclass(frozen=True, slots=True)
class ScheduleMissed(AgentEvent):
    """``count`` ticks passed while nobody was there; by its misfire policy they are not run."""

    schedule: str
    count: int


@dataclass(frozen=True, slots=True)
class ScheduleFailed(AgentEvent):
    """A schedule's handler raised, and is tried again at ``retry_at``; None: it is given up.

    A recurring one goes on with its next tick; a given up one-shot is among the dead letters.
    """

    schedule: str
    tick: str
    error: BaseException
    attempt: int
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class AgentRestarted(AgentEvent):
    """A failing turn had the agent dropped; it is thawed again in ``delay`` seconds, if wanted.

    ``failures`` counts those that followed one another.
    """

    error: BaseException
    failures: int
    delay: float


@dataclass(frozen=True, slots=True)
class AgentPaused(AgentEvent):
    """The agent failed too often, or once if its class says so: it refuses calls.

    ``until``: seconds since the epoch; None: until ``ref.resume()``.
    """

    error: BaseException
    failures: int
    until: float | None


@dataclass(frozen=True, slots=True)
class AgentResumed(AgentEvent):
    """Somebody ended the pause of the agent."""


@dataclass(frozen=True, slots=True)
class KindUnknown(AgentEvent):
    """Something waits for ``agent``, whose class this runtime does not know. Told once a kind.

    It goes on waiting: name the class in ``Runtime(agents=[…])``, here or in another process.
    """

    kind: str


E = TypeVar("E", bound=AgentEvent)


class Events:
    """Calls listeners with each event, on the thread where it happens, in order per agent.

    Listeners must be quick and must not call agents with ``ask``. What they raise is logged.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: tuple[tuple[type[AgentEvent], Callable[..., None]], ...] = ()

    def listen(self, listener: Callable[[E], None], kind: type[E]) -> Callable[[], None]:
        """Call ``listener`` with every event of ``kind``; call the result to end that."""
        entry = (kind, listener)
        with self._lock:
            self._listeners = (*self._listeners, entry)

        def stop() -> None:
            with self._lock:
                self._listeners = tuple(e for e in self._listeners if e is not entry)

        return stop

    def wanted(self) -> bool:
        """Whether anybody listens: events need not be made for nobody."""
        return bool(self._listeners)

    def emit(self, event: AgentEvent) -> None:
        """Tell the listeners."""
        for kind, listener in self._listeners:
            if isinstance(event, kind):
                try:
                    listener(event)
                except Exception:
                    logger.exception("a listener of %s failed", kind.__name__)
