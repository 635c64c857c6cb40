"""What an agent has to do by itself now: its schedules, and what waits in its outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.scheduling import firings

if TYPE_CHECKING:
    from torpor.calls import Call
    from torpor.mail import Fetched
    from torpor.thawing import ThawingActor

__all__ = ["chores"]


def chores(actor: ThawingActor, mail: Fetched | None) -> list[Call]:
    """Return the turns that are due, in order, those of ``mail`` too. Each checks again."""
    manager, state = actor.manager, actor.system
    turns: list[Call] = []
    if state is not None:
        turns += firings(actor)
        renewal = manager.courier.renewal(actor.address, state)
        turns += [renewal] if renewal is not None else []
    if mail is not None:
        turns += manager.mail.turns(actor, mail)
    return turns
