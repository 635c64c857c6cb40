"""How messages get into a live agent's mailbox, Torpor's own and those of pykka's ``ActorRef``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pykka.messages import (
    ProxyCall,
    ProxyGetAttr,
    _ActorStop,  # pyright: ignore[reportPrivateUsage] # what ActorRef.stop sends
)

from torpor.calls import Call, Control, Reply
from torpor.events import HibernationReason
from torpor.passivation import PassivatingActor
from torpor.proxy import AgentProxy
from torpor.storage.errors import MailboxFullError, StorageUnavailableError

if TYPE_CHECKING:
    from pykka._envelope import Envelope

    from torpor.commands import Command

__all__ = ["AdmittingActor"]


class AdmittingActor(PassivatingActor):
    """A passivating actor whose mailbox takes calls, up to a limit."""

    __slots__ = ()

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self.mailbox) + len(self.batch or ())

    def admit(self, call: Call, *, inline: bool) -> bool | None:
        """Take a message. True: it is in; False: this activation is gone.

        With ``inline`` and nothing else to do, None: the caller has claimed the activation and
        is to call ``run_inline``, or ``interrupted`` if it can't.
        """
        stalled = self.stalled
        if stalled is not None and not isinstance(call.message, str):
            detail = f"{self.address}: saving fails, no new calls until it works"
            raise StorageUnavailableError(detail) from stalled
        call.activation = self
        if self.claimed:
            # Without the lock, lest sender and worker sleep and wake at each message (a lock
            # convoy): who gives up the claim looks into the mailbox once more afterwards.
            self._require_room()
            self.mailbox.append(call)
            if self.claimed and not self.closed:
                return True
            return self._admit_after_all(call)
        with self.lock:
            if self.closed:
                return False
            if inline and not (self.claimed or self.mailbox or self.batch):
                self.runner = threading.get_ident()
                self.claimed = True
                return None
            self._require_room()
            self.mailbox.append(call)
            if self.claimed:
                return True
            self.claimed = True
        self.pool.schedule(self.run)
        return True

    def _require_room(self) -> None:
        waiting = len(self.mailbox) + len(self.batch or ())
        if waiting >= self.registration.options.mailbox:
            raise MailboxFullError(self.address, f"{waiting} messages wait already")

    def _admit_after_all(self, call: Call) -> bool:
        """See to a message that came while the claim was given up, or the activation ended."""
        with self.lock:
            if self.closed:  # if it is not in there, somebody has taken it out to refuse it
                return not self._take_out(call)
            if self.claimed or not self.mailbox:
                return True
            self.claimed = True
        self.pool.schedule(self.run)
        return True

    def take_back(self, call: Call) -> bool:
        """Take a message out again; False if it is being handled, or refused by somebody else."""
        if call.reply_to is not None:
            return call.withdraw()
        with self.lock:
            return self._take_out(call)

    def _take_out(self, call: Call) -> bool:
        """Remove a message from the mailbox; False if it is not in there. Lock held."""
        try:
            self.mailbox.remove(call)
        except ValueError:
            return False
        return True

    # -- pykka's own messages ------------------------------------------------------------------

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # see ``PooledActor``
        """The agent's address."""
        return self.address

    def proxy(self) -> AgentProxy:
        """Return pykka's style of calls, on the agent."""
        return AgentProxy(self.agent_ref)

    def receive(self, envelope: Envelope[Any]) -> None:
        """Take a message of pykka's own ``ActorRef``: a method call or a field by name."""
        message = envelope.message
        spec = self.registration.spec
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(message, ProxyCall):
            command = spec.find_name(".".join(message.attr_path))
            args, kwargs = command.bind(self.address, message.args, message.kwargs)
            what: Command | str = command
        elif isinstance(message, ProxyGetAttr):
            what = spec.find_field(".".join(message.attr_path))
        elif isinstance(message, _ActorStop):
            what, args = Control.HIBERNATE, (HibernationReason.REQUESTED,)
        else:
            what = spec.find(message)
        reply = envelope.reply_to
        assert reply is None or isinstance(reply, Reply)
        if reply is not None:
            reply.manager = self.manager
        call = Call(self.address, what, args, kwargs, reply_to=reply)
        self.manager.deliver(self.agent_ref, call)
