"""The runtime's own turns: an agent's outbox after its messages came, or did not come, home."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from torpor.calls import Call, Reply
from torpor.commands import Command
from torpor.deadletters import bury
from torpor.events import MessageFailed
from torpor.origin import Bookkeeping
from torpor.outbox import MAX_FAILURES, EarlyMessageError, describe
from torpor.system import DeadMessage
from torpor.turn import current_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torpor.agent import Agent
    from torpor.manager import InstanceManager
    from torpor.outbox import OutboxMessage, Outgoing
    from torpor.system import SystemState
    from torpor.transaction import TransactionalActor

__all__ = ["bookkeeping", "drop_schedule", "purge", "refused", "renew", "replay", "settle"]


def bookkeeping(
    manager: InstanceManager, address: str, work: Callable[[TransactionalActor], Any]
) -> Call:
    """Return a turn of the runtime's own on an agent. Its reply is what ``work`` returns."""
    return Call(
        address,
        _COMMAND,
        (work,),
        context=contextvars.Context(),
        reply_to=Reply[Any].of(manager),
        origin=Bookkeeping(),
    )


def _work(agent: Agent, work: Callable[[TransactionalActor], Any]) -> Any:
    del agent
    turn = current_turn()
    assert turn is not None
    return work(turn.activation)


_COMMAND = Command("$bookkeeping", _work)


def refused(
    method: str, error: BaseException
) -> tuple[Command, tuple[BaseException], dict[str, Any]]:
    """Return a command and arguments for a stored call that no method takes any more.

    It fails by ``error``, so that it is counted, tried again and kept like any other failure.
    """
    return Command(method, _fail), (error,), {}


def _fail(agent: Agent, error: BaseException) -> None:
    del agent
    raise error


def renew(actor: TransactionalActor, seqs: Iterable[int]) -> None:
    """Look after messages that are due: they are sent once that is saved."""
    contents = actor.runtime_state().edit()
    now = actor.manager.clock.time()
    for seq in seqs:
        message = contents.outbox.get(seq)
        if message is not None:
            contents.outbox[seq] = message.renewed(now)


def settle(
    actor: TransactionalActor, results: Sequence[tuple[Outgoing, BaseException | None]]
) -> None:
    """Remove what has arrived, put off what has not, give up what failed too often."""
    state = actor.runtime_state()
    for sent, error in results:
        message = state.contents.outbox.get(sent.seq)
        if message is None or sent.life != state.contents.life:
            continue
        if error is None:
            del state.edit().outbox[sent.seq]
        elif not isinstance(error, EarlyMessageError):
            _came_back(actor, state, message, error)


def _came_back(
    actor: TransactionalActor, state: SystemState, message: OutboxMessage, error: BaseException
) -> None:
    manager, now = actor.manager, actor.manager.clock.time()
    message = message.put_off(error, now)
    contents = state.edit()
    identity = f"{contents.life}-{message.seq}"
    if message.failures >= MAX_FAILURES and bury(
        actor,
        DeadMessage(
            id=identity,
            sender=actor.address,
            target=message.target,
            payload=message.payload,
            failures=message.failures,
            error=describe(error),
            sent_at=message.at,
            died_at=now,
        ),
    ):
        del contents.outbox[message.seq]
        return
    contents.outbox[message.seq] = message
    manager.tell_event(
        MessageFailed(actor.address, message.target, identity, error, message.failures, message.due)
    )


def replay(actor: TransactionalActor, ids: Iterable[str]) -> int:
    """Send dead letters again, as new messages, behind what waits already."""
    state, now = actor.runtime_state(), actor.manager.clock.time()
    letters = _taken(actor, ids)
    for letter in letters:
        state.send(letter.target, letter.payload, now)
    return len(letters)


def purge(actor: TransactionalActor, ids: Iterable[str]) -> int:
    """Forget dead letters."""
    return len(_taken(actor, ids))


def _taken(actor: TransactionalActor, ids: Iterable[str]) -> list[DeadMessage]:
    contents = actor.runtime_state().edit()
    wanted = list(ids) or list(contents.dead)
    return [contents.dead.pop(letter) for letter in wanted if letter in contents.dead]


def drop_schedule(actor: TransactionalActor, schedule_id: str) -> bool:
    """Cancel a schedule."""
    state = actor.runtime_state()
    if schedule_id not in state.contents.schedules:
        return False
    del state.edit().schedules[schedule_id]
    return True
