"""What a failing turn does to its agent: resume, restart or stop it, and pause a crash loop.

The three strategies are those of Akka's supervisors; restarts that come too fast end in a pause,
as the restart intensity of Erlang/OTP's does. Each agent is supervised alone: it harms no other.
The turn itself is rolled back whatever the strategy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor.events import AgentPaused, AgentRestarted, AgentResumed
from torpor.outbox import describe
from torpor.pauses import Pause

if TYPE_CHECKING:
    from torpor.clock import Clock
    from torpor.transaction import TransactionalActor

__all__ = ["Supervisor", "lift"]

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 10.0


@dataclass(slots=True)
class _Streak:
    """The failures of one agent that followed one another within its window."""

    count: int
    last: float
    not_before: float = 0.0


class Supervisor:
    """Knows the agents of one runtime that failed lately. Safe for many threads.

    What it counts is forgotten when the runtime stops; a pause is in the agent's record.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._streaks: dict[str, _Streak] = {}

    def failures(self, address: str) -> int:
        """Return how many failures of an agent have followed one another."""
        streak = self._streaks.get(address)
        return streak.count if streak else 0

    def delay(self, address: str) -> float:
        """Return how many seconds the agent has still to wait before it is thawed again."""
        if not self._streaks:
            return 0.0
        streak = self._streaks.get(address)
        return max(streak.not_before - self._clock.monotonic(), 0.0) if streak else 0.0

    def forget(self, address: str) -> None:
        """Begin to count anew."""
        self._streaks.pop(address, None)

    def failed(self, actor: TransactionalActor, error: BaseException) -> None:
        """Do with an agent what its class wants done after ``error``, once its turn is over."""
        options, address = actor.registration.options, actor.address
        now = self._clock.monotonic()
        streak = self._streaks.get(address)
        if streak is None or now - streak.last > options.restart_window:
            streak = self._streaks[address] = _Streak(0, now)
        streak.count += 1
        streak.last = now
        stops = options.supervision == "stop"
        if stops or streak.count > options.max_restarts:
            until = None if stops else self._clock.time() + options.restart_window
            pause = Pause(
                since=self._clock.time(), until=until, failures=streak.count, error=describe(error)
            )
            actor.runtime_state().edit().pause = pause
            self.forget(address)
            actor.manager.tell_event(AgentPaused(address, error, pause.failures, until))
        else:
            delay = min(_FIRST_DELAY * 2 ** (streak.count - 1), _LONGEST_DELAY)
            streak.not_before = now + delay
            actor.manager.tell_event(AgentRestarted(address, error, streak.count, delay))
        actor.discard_copy()


def lift(actor: TransactionalActor) -> bool:
    """End a pause: the runtime's own turn; False if there is none."""
    actor.manager.supervisor.forget(actor.address)
    state = actor.runtime_state()
    if state.contents.pause is None:
        return False
    state.edit().pause = None
    actor.manager.tell_event(AgentResumed(actor.address))
    actor.manager.waker.tick(actor.address, mail=True)  # which was put off
    return True
