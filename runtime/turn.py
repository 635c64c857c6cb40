"""One turn: one message handled by one agent, and the turn that the current code belongs to."""

from __future__ import annotations

import copy
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from torpor.events import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.calls import Call
    from torpor.transaction import TransactionalActor

__all__ = ["Turn", "current_turn"]


class Turn:
    """What one message did, until it may be seen outside.

    ``held``: tells to send once the turn is durable. ``let_out``: a call has left already, so
    the turn can't be run again unnoticed. ``epoch``: which copy of the agent it ran on.
    ``changed``: there is something of it to save.
    """

    # Defaults of the class: most turns set few of them.
    open = True
    let_out = False
    answered = False
    changed = False
    held: list[Callable[[], None]] | None = None
    result: Any = None
    error: BaseException | None = None

    def __init__(self, activation: TransactionalActor, call: Call, epoch: int) -> None:
        self.activation = activation
        self.call = call
        self.epoch = epoch

    def hold(self, send: Callable[[], None]) -> bool:
        """Keep ``send`` back until this turn is durable; False if the turn has ended."""
        with self.activation.lock:
            if not self.open:
                return False
            self.held = [*(self.held or ()), send]
        return True

    def release(self) -> None:
        """Answer the caller and send what was held: the turn may be seen now."""
        call = self.call
        call.context = None  # it refers to this turn: nothing is to wait for the cycle collector
        if not self.answered:
            self.answered = True
            if call.reply_to is not None:
                result, error = self.result, self.error
                if self.activation.manager.always_thaw:
                    try:
                        result = copy.deepcopy(result)
                    except Exception as uncopyable:  # noqa: BLE001 - the result's own
                        result, error = None, uncopyable
                call.reply_to.settle(result, error)
            elif self.error is not None and not isinstance(call.message, str):
                letter = DeadLetter(call.target, call.message.name, self.error)
                self.activation.manager.dead_letter(letter)
        if self.held:
            held, self.held = self.held, None
            for send in held:
                send()

    def refuse(self, error: BaseException) -> None:
        """Answer the caller with ``error`` unless it has its answer."""
        self.call.context = None
        if not self.answered:
            self.answered = True
            if self.call.reply_to is not None:
                self.call.reply_to.settle(None, error)


_current: ContextVar[Turn | None] = ContextVar("torpor_turn", default=None)


def current_turn() -> Turn | None:
    """Return the turn that the calling code runs in, None outside of turns."""
    turn = _current.get()
    return turn if turn is not None and turn.open else None


enter_turn = _current.set
"""Make a turn the current one of this context, which is the call's own copy."""
