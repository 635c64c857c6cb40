"""What happens in conversations, told to ``runtime.listen`` once it is durable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor.events import AgentEvent
from torpor.turn import current_turn

if TYPE_CHECKING:
    from torpor.agent import Agent
    from torpor.conversation.state import Decision, Interrupt

__all__ = [
    "ConversationAnswered",
    "ConversationFailed",
    "InterruptDecided",
    "InterruptRaised",
    "OutcomeUnknown",
    "announce",
]


@dataclass(frozen=True, slots=True)
class InterruptRaised(AgentEvent):
    """A tool call waits for a human's approval."""

    interrupt: Interrupt


@dataclass(frozen=True, slots=True)
class InterruptDecided(AgentEvent):
    """A human decided about an interrupt, or it expired."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class OutcomeUnknown(AgentEvent):
    """A tool that runs at most once was started, and nobody knows whether it finished.

    It is not run again by itself: ``resolve(call_id, "retry")`` or ``"fail"``.
    """

    interrupt: Interrupt


@dataclass(frozen=True, slots=True)
class ConversationAnswered(AgentEvent):
    """The model gave its final answer."""

    answer: str


@dataclass(frozen=True, slots=True)
class ConversationFailed(AgentEvent):
    """The model gave no answer. The conversation is kept: ``retry``, or say something else."""

    error: str


def announce(agent: Agent, event: AgentEvent) -> None:
    """Emit ``event`` once the running turn of ``agent`` is durable, never if it fails."""
    events = agent.runtime.manager.events
    turn = current_turn()
    if turn is None or not turn.hold(lambda: events.emit(event)):
        events.emit(event)
