"""Delivering events to agents, asleep or awake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from torpor.ref import AgentRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeIs

    from torpor.agent import Agent
    from torpor.queue.event import Event

__all__ = ["to_agent"]

A = TypeVar("A", bound="Agent")


def to_agent(
    method: Callable[[A, Event], Any],
    agent: AgentRef[A] | Callable[[Event], AgentRef[A] | None],
) -> Callable[[Event], None]:
    """Return a callback for ``EventQueue.subscribe`` that sends each event to an agent.

    ``agent`` is the one that gets all, or a function that says which one gets an event (None:
    nobody). ``method`` is called with the event, as a durable message: with a durable ``consumer``
    it is applied once, in order, whoever crashes. (The subscription may send an event twice; the
    agent, which remembers the newest 1,000, applies it once.) What the method raises is the
    agent's matter: ``ref.send`` tells what becomes of it, and the subscription goes on.
    """

    def deliver(event: Event) -> None:
        receiver = agent if _is_reference(agent) else agent(event)
        if receiver is not None:
            message_id = f"{event.topic}@{event.cursor}"
            receiver.options(message_id=message_id).send(method, event)

    return deliver


def _is_reference(
    agent: AgentRef[A] | Callable[[Event], AgentRef[A] | None],
) -> TypeIs[AgentRef[A]]:
    return isinstance(agent, AgentRef)
