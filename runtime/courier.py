"""Brings what agents have in their outboxes to its targets, and keeps the outboxes up to date.

It remembers in memory alone which messages are on their way. Whatever it forgets by a crash is
in the sender's record, whose ``wake_at`` has it looked after again.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from torpor.bookkeeping import bookkeeping, renew, settle
from torpor.calls import Call, Reply
from torpor.events import MessageDelivered
from torpor.origin import Delivered
from torpor.outbox import EarlyMessageError, Outgoing, lanes
from torpor.storage.errors import TorporError, UnknownKindError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torpor.manager import InstanceManager
    from torpor.outbox import Deliverer, OutboxMessage
    from torpor.system import SystemState

__all__ = ["AGENT_SCHEME", "AgentDeliverer", "Courier"]

logger = logging.getLogger("torpor")

AGENT_SCHEME = "agent"
_STARTED_WITHIN = 60.0


class Courier:
    """Delivers for all agents of one runtime. Thread-safe."""

    def __init__(self, manager: InstanceManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self._deliverers: dict[str, Deliverer] = {AGENT_SCHEME: AgentDeliverer(manager)}
        # By sender: what is on its way, or has come back and is not in the sender's books yet.
        self._flying: dict[str, set[tuple[str, int]]] = {}
        self._results: dict[str, list[tuple[Outgoing, BaseException | None]]] = {}
        self._booking: set[str] = set()

    def register(self, scheme: str, deliverer: Deliverer) -> None:
        """Deliver messages to targets of ``scheme`` by ``deliverer``."""
        self._deliverers[scheme] = deliverer

    def send(self, sender: str, life: str, messages: Iterable[OutboxMessage]) -> None:
        """Hand over those durable messages of a sender that are not held and not under way."""
        if self._manager.stopping:
            return
        for lane in lanes(messages).values():
            if lane[0].held:
                continue
            batch: list[Outgoing] = []
            after: int | None = None
            with self._lock:
                flying = self._flying.setdefault(sender, set())
                for message in lane:
                    if (life, message.seq) not in flying:
                        flying.add((life, message.seq))
                        batch.append(_outgoing(sender, life, message, after))
                    after = message.seq
            if batch:
                self._hand_over(batch)

    def renewal(self, sender: str, state: SystemState) -> Call | None:
        """Return the turn that looks after what is due in an outbox, None if nothing is."""
        now = self._manager.clock.time()
        waiting = lanes(state.finished.outbox.values()).values()
        due = [lane[0].seq for lane in waiting if lane[0].due <= now]
        return bookkeeping(self._manager, sender, partial(renew, seqs=due)) if due else None

    def _hand_over(self, batch: list[Outgoing]) -> None:
        target = batch[0].target
        deliverer = self._deliverers.get(target.partition(":")[0])
        error: BaseException
        if deliverer is None:
            error = UnknownKindError(target, "nobody is registered to deliver there")
        else:
            try:
                deliverer.deliver(batch, self._done)
            except Exception as raised:
                logger.exception("delivering to %s failed", target)
                error = raised
            else:
                return
        for message in batch:
            self._done(message, error)

    def _done(self, message: Outgoing, error: BaseException | None) -> None:
        """Take what became of a message, and have it noted in the sender's books."""
        if isinstance(error, UnknownKindError):
            self._manager.note_unknown(error)
        with self._lock:
            self._results.setdefault(message.sender, []).append((message, error))
            if message.sender in self._booking:
                return
            self._booking.add(message.sender)
        self._book(message.sender)

    def _book(self, sender: str) -> None:
        """Note all that came back by now in one turn of the sender."""
        with self._lock:
            results = self._results.pop(sender, [])
            if not results:
                self._booking.discard(sender)
                if not self._flying.get(sender):
                    self._flying.pop(sender, None)
                return
        call = bookkeeping(self._manager, sender, partial(settle, results=results))
        assert call.reply_to is not None
        call.reply_to.on_settled(lambda: self._booked(sender, results))
        try:
            self._manager.deliver(self._manager.ref_of(sender), call)
        except TorporError as failure:
            # Nothing is lost: the messages are still in the outbox, and will be due.
            call.refuse(failure)

    def _booked(self, sender: str, results: list[tuple[Outgoing, BaseException | None]]) -> None:
        with self._lock:
            done = {(message.life, message.seq) for message, _ in results}
            self._flying.get(sender, set()).difference_update(done)
        self._book(sender)
        activation = self._manager.table.get(sender)
        if activation is not None:
            activation.send_outbox()


def _outgoing(sender: str, life: str, message: OutboxMessage, after: int | None) -> Outgoing:
    return Outgoing(
        sender=sender,
        life=life,
        seq=message.seq,
        target=message.target,
        payload=message.payload,
        at=message.at,
        after=after,
    )


class AgentDeliverer:
    """Delivers to agents: each message is a call that its receiver's record is marked with."""

    def __init__(self, manager: InstanceManager) -> None:
        self._manager = manager

    def deliver(
        self,
        messages: Sequence[Outgoing],
        done: Callable[[Outgoing, BaseException | None], None],
    ) -> None:
        """Put the messages into the receiver's mailbox; see ``Deliverer``."""
        for message in messages:
            try:
                self._deliver(message, done)
            except Exception as error:  # noqa: BLE001 - it is the message's own
                done(message, error)

    def _deliver(
        self, message: Outgoing, done: Callable[[Outgoing, BaseException | None], None]
    ) -> None:
        manager, payload = self._manager, message.payload
        address = message.target.partition(":")[2]
        ref = manager.ref_of(address, payload.get("initial"))
        command = ref.registration.spec.find_name(payload["method"])
        args, kwargs = command.json.load(address, payload)
        origin = Delivered(message)
        reply = Reply[object].of(manager)
        call = Call(
            address,
            command,
            args,
            kwargs,
            reply_to=reply,
            deadline=manager.clock.monotonic() + _STARTED_WITHIN,
            origin=origin,
        )

        def settled() -> None:
            error = reply.error
            if error is None and origin.early:
                error = EarlyMessageError(message.id)
            if error is None and origin.applied:
                manager.tell_event(MessageDelivered(address, message.sender, message.id))
            done(message, error)

        manager.deliver(ref, call)
        reply.on_settled(settled)
