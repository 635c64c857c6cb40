"""How a reference brings a call on its way: made, held back, delivered, or run by its caller."""

from __future__ import annotations

import copy
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from torpor.address import address_of
from torpor.calls import Call, Reply
from torpor.eventloop import on_event_loop
from torpor.events import DeadLetter
from torpor.gate import Gate
from torpor.storage.errors import BlockingCallError
from torpor.turn import current_turn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.commands import Command
    from torpor.manager import InstanceManager, Registration
    from torpor.turn import Turn

__all__ = ["Sender"]

_MAX_NESTED = 16


class Sender:
    """One agent's address, and what calls to it are to be like."""

    __slots__ = (
        "_fresh",
        "_initial",
        "_inline_storage",
        "_manager",
        "_message_id",
        "_timeout",
        "address",
        "key",
        "partition",
        "registration",
    )

    def __init__(  # noqa: PLR0913 - made by Runtime.get only
        self,
        manager: InstanceManager,
        registration: Registration,
        key: str,
        *,
        partition: str | None = None,
        initial: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        fresh: bool = False,
        message_id: str | None = None,
    ) -> None:
        self._manager = manager
        self._initial = initial
        self._timeout = timeout
        # Whether its caller's thread may load and save the agent: that ends in time.
        self._inline_storage = timeout is None or timeout >= manager.storage.timeout
        self._fresh = fresh
        self._message_id = message_id
        self.registration = registration
        self.address = address_of(registration.spec.kind, partition, key)
        self.key = key
        self.partition = partition

    def __repr__(self) -> str:
        return f"<AgentRef {self.address}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sender):
            return NotImplemented
        return self.address == other.address and self._manager is other._manager

    def __hash__(self) -> int:
        return hash(self.address)

    @property
    def initial(self) -> dict[str, Any] | None:
        """Fields that a fresh agent begins with."""
        return None if self._initial is None else dict(self._initial)

    def _call(
        self,
        command: Command,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        reply: Reply[Any] | None,
        turn: Turn | None,
    ) -> Call:
        if args or kwargs or not command.bare:
            args, kwargs = command.bind(self.address, args, kwargs)
            if self._manager.always_thaw:
                args, kwargs = copy.deepcopy((args, kwargs))
        deadline = None
        if reply is not None and self._timeout is not None:
            deadline = self._manager.clock.monotonic() + self._timeout
        call = Call(self.address, command, args, kwargs, copy_context(), reply, deadline)
        if self._fresh:
            call.fresh = True
        if turn is not None:
            call.urgent = True
        return call

    def deadline(self) -> float | None:
        """Return when a call sent now times out, on the runtime's monotonic clock."""
        if self._timeout is None:
            return None
        return self._manager.clock.monotonic() + self._timeout

    def dispatch_tell(
        self, command: Command, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Send a bound-by-name call that nobody waits for; ``tell`` and proxies."""
        turn = current_turn()
        call = self._call(command, args, kwargs, None, turn)
        if turn is None or not turn.hold(lambda: self._deliver_or_bury(call, command)):
            self._manager.deliver(self, call)

    def _deliver_or_bury(self, call: Call, command: Command) -> None:
        try:
            self._manager.deliver(self, call)
        except Exception as error:  # noqa: BLE001 - nobody is there to raise it to
            self._manager.dead_letter(DeadLetter(self.address, command.name, error))

    def dispatch(
        self, command: Command, args: tuple[Any, ...], kwargs: dict[str, Any], *, blocking: bool
    ) -> Reply[Any]:
        """Send a bound-by-name call; ``submit`` and proxies, or with ``blocking`` ``ask``."""
        manager = self._manager
        reply: Reply[Any] = Reply()
        reply.manager = manager  # not by ``of``, which takes 2 % of a blocking call
        turn = current_turn()
        call = self._call(command, args, kwargs, reply, turn)
        if blocking:
            anywhere = command.runs_anywhere
        else:
            anywhere = command.is_async and manager.loops.on_its_loop()
        if turn is None:
            self._deliver_and_run(call, inline=anywhere, blocking=blocking)
        else:
            self._launch(call, reply, turn, blocking=blocking, inline=anywhere)
        return reply

    def _launch(
        self, call: Call, reply: Reply[Any], turn: Turn | None, *, blocking: bool, inline: bool
    ) -> None:
        """Send a call that has a reply, now or when the turn that makes it may; maybe run it."""
        if turn is None:
            self._deliver_and_run(call, inline=inline, blocking=blocking)
            return
        gate = Gate(turn, lambda: self._deliver_or_refuse(call), call.refuse)
        if not turn.activation.let_out(gate, inline=blocking and self._inline_storage):
            return
        depth = turn.call.depth + 1
        inline = inline and (not blocking or depth < _MAX_NESTED)
        if not (blocking and inline):
            self._deliver_and_run(call, inline=inline, blocking=blocking)
            return
        with self._manager.waits.waiting(turn.activation.address, self.address, reply):
            self._deliver_and_run(call, inline=inline, blocking=blocking, depth=depth)

    def _deliver_and_run(self, call: Call, *, inline: bool, blocking: bool, depth: int = 0) -> None:
        try:
            activation = self._manager.deliver(self, call, inline=inline)
            if activation is not None:
                call.depth = depth
                activation.run_inline(call, storage=blocking and self._inline_storage)
        except Exception:
            raise
        except BaseException as interrupt:
            # It may have come anywhere: the agent may be claimed, and nobody run it.
            if call.activation is not None:
                call.activation.interrupted(interrupt)
            raise

    def _deliver_or_refuse(self, call: Call) -> None:
        try:
            self._manager.deliver(self, call)
        except Exception as error:  # noqa: BLE001 - it reaches the caller by the reply
            call.refuse(error)

    def _control(self, control: str, *args: Any, blocking: bool = False) -> Reply[None]:
        if blocking and on_event_loop():
            detail = f"this thread runs an event loop; use await ref.a{control}()"
            raise BlockingCallError(self.address, detail)
        reply = Reply[None].of(self._manager)
        turn = current_turn()
        call = Call(
            self.address,
            control,
            args,
            reply_to=reply,
            deadline=self.deadline(),
            urgent=turn is not None,
        )
        inline = blocking and self._inline_storage
        self._launch(call, reply, turn, blocking=blocking, inline=inline)
        return reply
