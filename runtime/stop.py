"""How a runtime stops: drain, hibernate, and say what could not be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.calls import Call, Control, Reply
from torpor.events import HibernationReason
from torpor.storage.errors import RuntimeStoppedError, StopError, TorporError

if TYPE_CHECKING:
    from torpor.activation import Activation
    from torpor.manager import InstanceManager

__all__ = ["drain_and_hibernate"]

_GRACE = 2.0


def drain_and_hibernate(manager: InstanceManager, drain_timeout: float) -> None:
    """Finish queued turns within ``drain_timeout`` seconds, then hibernate every live agent.

    Who is at rest and saved leaves at once; a million would keep the workers busy for long.
    Each other live agent gets a hibernation behind its queued messages. Agents that those turns
    wake get theirs in a further round. After the time is up, queued calls are refused and
    async handlers cancelled; a handler that still runs has the state before its turn saved,
    and its own save is refused. Raises ``StopError`` for what is left.
    """
    deadline = manager.clock.monotonic() + drain_timeout
    manager.stopping = True
    if not _hibernate_all(manager, deadline):
        manager.refusing = "the runtime has stopped"
        manager.loops.cancel_all()
        grace = manager.clock.monotonic() + _GRACE
        for activation in list(manager.table.values()):
            if activation.turn is not None:
                activation.flush()
        _hibernate_all(manager, grace)
    manager.refusing = "the runtime has stopped"
    for activation in list(manager.table.values()):
        for call in activation.take_all():
            activation.refuse(call, RuntimeStoppedError(manager.refusing))
    _raise_for_the_rest(list(manager.table.values()))


def _hibernate_all(manager: InstanceManager, deadline: float) -> bool:
    """Return whether every agent left memory by ``deadline``, or all that are left can't."""
    while manager.table:
        for activation in list(manager.table.values()):
            activation.put_to_sleep(HibernationReason.STOPPED, now=True)
        left = list(manager.table.values())
        replies = [_send_hibernation(manager, activation, deadline) for activation in left]
        refused = sum(_refused(reply) for reply in replies)
        if (replies and refused == len(replies)) or manager.clock.monotonic() >= deadline:
            break
    return not manager.table


def _refused(reply: Reply[None]) -> bool:
    try:
        reply.get()
    except TorporError:
        return True
    except BaseException:
        if reply.error is None:  # it is this thread's own
            raise
        return True
    return False


def _send_hibernation(
    manager: InstanceManager, activation: Activation, deadline: float
) -> Reply[None]:
    reply = Reply[None].of(manager)
    reason = HibernationReason.STOPPED
    call = Call(
        activation.address,
        Control.HIBERNATE,
        (reason,),
        reply_to=reply,
        deadline=deadline,
        urgent=True,
    )
    if not activation.post(call):
        manager.forget(activation)
        reply.settle(None, None)
    return reply


def _raise_for_the_rest(left: list[Activation]) -> None:
    unsaved: dict[str, BaseException] = {}
    stuck: list[str] = []
    for activation in left:
        if activation.give_up():
            stuck.append(activation.address)
        if not activation.settled:
            unsaved[activation.address] = activation.trouble or TimeoutError("not saved in time")
    if unsaved or stuck:
        raise StopError(unsaved=unsaved, stuck=stuck)
