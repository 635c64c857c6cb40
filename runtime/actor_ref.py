"""pykka's own reference to a live agent, for code that knows pykka's actors only."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NoReturn

import pykka

if TYPE_CHECKING:
    from pykka._envelope import Envelope

    from torpor.workers import PooledActor

__all__ = ["PooledActorRef"]


class _Inbox:
    """Where pykka puts what it sends: straight on to the actor, which has a mailbox."""

    def __init__(self, actor: PooledActor) -> None:
        self._actor = actor

    def put(self, envelope: Envelope[Any], /) -> None:
        self._actor.receive(envelope)

    def get(self) -> NoReturn:
        msg = "a pooled actor takes its messages itself"
        raise TypeError(msg)

    def empty(self) -> bool:
        return not self._actor.mailbox


class PooledActorRef(pykka.ActorRef[Any]):
    """A ``pykka.ActorRef`` of one live agent: a message is a method of its class.

    It means this life of the agent: once the agent has hibernated it is dead, and what is sent
    by it raises ``pykka.ActorDeadError``. ``AgentRef`` outlives that. ``stop`` hibernates.
    """

    def __init__(self, actor: PooledActor) -> None:
        # Not pykka's __init__: it wants an inbox and an Event of every actor.
        self._actor_weakref = weakref.ref(actor)
        self.actor_class = type(actor)
        self.actor_urn = actor.actor_urn
        self.actor_inbox = _Inbox(actor)

    def is_alive(self) -> bool:
        """Whether this life of the agent goes on."""
        actor = self._actor_weakref()
        return actor is not None and not actor.closed

    def proxy(self) -> Any:
        """Return an ``AgentProxy``: fields and methods are the agent's, not its actor's."""
        actor = self._actor_weakref()
        if actor is None or actor.closed:
            msg = f"{self} not found"
            raise pykka.ActorDeadError(msg)
        return actor.proxy()
