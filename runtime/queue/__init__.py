"""Topics of durable events, on any storage."""

from __future__ import annotations

from torpor.queue.agents import to_agent
from torpor.queue.consumers import Consumer
from torpor.queue.event import Event, Start
from torpor.queue.eventqueue import EventQueue
from torpor.queue.outgoing import publish
from torpor.queue.subscription import Subscription
from torpor.queue.topic import Retention

__all__ = [
    "Consumer",
    "Event",
    "EventQueue",
    "Retention",
    "Start",
    "Subscription",
    "publish",
    "to_agent",
]
