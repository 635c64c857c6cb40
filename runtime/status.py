"""What is known of an agent without waking it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torpor.manager import InstanceManager
    from torpor.pauses import Pause

__all__ = ["AgentStatus", "status_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """What the runtime knows of one agent without waking it or reading the storage.

    ``state``: ``"asleep"`` (or not yet born), ``"thawing"``, ``"live"``, ``"hibernating"``,
    ``"failed"`` (its last thaw failed by ``error``) or ``"paused"`` (live, and refusing calls).
    ``rev`` is the durable revision, None unless live. ``failures``: turns that failed one after
    another, as far as the class's ``supervision`` counts them.
    """

    agent: str
    state: str
    running: bool = False
    waiting: int = 0
    unsaved: bool = False
    attached: int = 0
    rev: int | None = None
    error: BaseException | None = None
    failures: int = 0
    pause: Pause | None = None


def status_of(manager: InstanceManager, address: str) -> AgentStatus:
    """Return what ``manager`` knows of an agent."""
    attached = manager.attached.get(address, 0)
    activation = manager.table.get(address)
    failures = manager.supervisor.failures(address)
    if activation is None:
        error = manager.failure(address)
        state = "asleep" if error is None else "failed"
        return AgentStatus(
            agent=address, state=state, attached=attached, error=error, failures=failures
        )
    pause = activation.pause
    return AgentStatus(
        agent=address,
        state=activation.lifecycle.value if pause is None else "paused",
        running=activation.turn is not None,
        waiting=activation.waiting,
        unsaved=not activation.settled,
        attached=attached,
        rev=activation.rev,
        error=activation.stalled,
        failures=failures,
        pause=pause,
    )
