"""What happened in a runtime: counted, told to its listeners, logged where a user has to know."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from torpor.counters import Counter
from torpor.events import (
    AgentEvent,
    ConflictDetected,
    DeadLetter,
    Events,
    Hibernated,
    HibernationReason,
    KindUnknown,
    SaveFailed,
    Thawed,
    ThawFailed,
)
from torpor.storage.errors import InvalidStateError, UnknownKindError

if TYPE_CHECKING:
    from torpor.clock import Clock

__all__ = ["Reporter"]

logger = logging.getLogger("torpor")

_FIRST_THAW_BACKOFF = 0.05
_LONGEST_THAW_BACKOFF = 5.0


class _Failure:
    """A thaw that failed, and until when it is not tried again."""

    __slots__ = ("cause", "count", "until")

    def __init__(self, cause: BaseException, count: int, until: float) -> None:
        self.cause = cause
        self.count = count
        self.until = until


class Reporter:
    """Counts and tells. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.events = Events()
        self.turns, self.thaws, self.hibernations = Counter(), Counter(), Counter()
        self.conflicts, self.save_failures, self.dead_letters = Counter(), Counter(), Counter()
        self._unknown: set[str] = set()
        self._failures: dict[str, _Failure] = {}

    def tell_event(self, event: AgentEvent) -> None:
        """Tell an event that nothing is counted by."""
        if self.events.wanted():
            self.events.emit(event)

    def note_unknown(self, error: UnknownKindError) -> None:
        """Tell, once a kind, that something waits for an agent whose class is not known."""
        kind = error.agent.partition("/")[0]
        if kind not in self._unknown:
            self._unknown.add(kind)
            logger.error("%s", error)
            self.tell_event(KindUnknown(error.agent, kind))

    def note_thawed(self, agent: str, *, fresh: bool, rev: int) -> None:
        """Count and tell a thaw; a failure of before is over."""
        if self._failures:
            self._failures.pop(agent, None)
        self.thaws.add()
        if self.events.wanted():
            self.events.emit(Thawed(agent, fresh=fresh, rev=rev))

    def note_hibernated(self, agent: str, reason: HibernationReason) -> None:
        """Count and tell a hibernation."""
        self.hibernations.add()
        if self.events.wanted():
            self.events.emit(Hibernated(agent, reason))

    def note_thaw_failure(self, event: ThawFailed) -> None:
        """Remember a failed thaw, so that the next one is tried after a while only."""
        if not isinstance(event.error, InvalidStateError):
            before = self._failures.get(event.agent)
            count = before.count + 1 if before else 1
            wait = min(_FIRST_THAW_BACKOFF * 2 ** (count - 1), _LONGEST_THAW_BACKOFF)
            until = self.clock.monotonic() + wait
            self._failures[event.agent] = _Failure(event.error, count, until)
        logger.error("%s cannot be thawed: %s", event.agent, event.error)
        self.tell_event(event)

    def note_conflict(self, event: ConflictDetected) -> None:
        """Count and tell a conflict; answered turns that it drops are an error."""
        self.conflicts.add()
        if event.lost_turns:
            logger.error(
                "%s: another process wrote it; %d answered turns are lost",
                event.agent,
                event.lost_turns,
            )
        self.tell_event(event)

    def note_save_failure(self, event: SaveFailed) -> None:
        """Count and tell a failed save."""
        self.save_failures.add()
        logger.warning("%s: save failed (attempt %d): %r", event.agent, event.attempt, event.error)
        self.tell_event(event)

    def dead_letter(self, event: DeadLetter) -> None:
        """Count and tell a message that nobody answers for."""
        self.dead_letters.add()
        logger.error("%s.%s: dead letter: %s", event.agent, event.method, event.error)
        self.tell_event(event)

    def failure(self, address: str) -> BaseException | None:
        """Return why the agent's last thaw failed, None if it did not."""
        failure = self._failures.get(address)
        return failure.cause if failure else None
