"""Publishing inside of an agent's turn: the event exists if, and only if, the turn commits."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from torpor import outbox
from torpor.errands import logged
from torpor.queue.eventqueue import EventQueue
from torpor.queue.publisher import Draft
from torpor.queue.sources import agent_source
from torpor.queue.topic import topic_key
from torpor.storage import codec
from torpor.storage.codec import UNDECODABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.manager import InstanceManager
    from torpor.outbox import Outgoing

__all__ = ["TOPIC_SCHEME", "TopicDeliverer", "publish"]

TOPIC_SCHEME = "topic"


def publish(topic: str, payload: Any = None, *, kind: str = "event") -> str:
    """Publish an event from the turn of an agent; return the id that the event will have.

    The event is part of the turn: it is stored once in the topic if the turn commits, soon after
    that, also if the process is killed in between; and never if the turn fails. Those of one
    agent keep their order in a topic. ``event.source`` is the agent's address.

    The topic is in the runtime's own storage. Raises ``ConfigurationError`` outside of a turn,
    where ``EventQueue.publish`` is to be used, ``InvalidKeyError``, ``UnserializableError``, and
    what ``torpor.outbox.put`` does.
    """
    topic_key(topic)
    return outbox.put(f"{TOPIC_SCHEME}:{topic}", {"payload": payload, "kind": kind})


class TopicDeliverer:
    """Brings messages from outboxes into topics; see ``torpor.outbox.Deliverer``."""

    def __init__(self, manager: InstanceManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self._queue: EventQueue | None = None

    def deliver(
        self,
        messages: Sequence[Outgoing],
        done: Callable[[Outgoing, BaseException | None], None],
    ) -> None:
        """Have the messages published on a worker, with what others publish meanwhile."""
        topic = messages[0].target.partition(":")[2]
        drafts: list[Draft] = []
        for message in messages:
            try:
                drafts.append(_draft(message, done))
            except UNDECODABLE as error:
                done(message, error)  # no event; those behind it wait until it is given up
        drain = self._opened().submit(topic, drafts)
        # Who waits for one of them has been told of an error, or will be.
        self._manager.errands.run(drain, logged("messages for a topic are not published yet: %s"))

    def _opened(self) -> EventQueue:
        with self._lock:
            if self._queue is None:
                # Without subscribers it has neither thread nor connection, so none to close.
                self._queue = EventQueue(self._manager.storage, clock=self._manager.clock)
            return self._queue


def _draft(message: Outgoing, done: Callable[[Outgoing, BaseException | None], None]) -> Draft:
    payload, kind = message.payload["payload"], message.payload["kind"]
    if not isinstance(kind, str):
        msg = f"an event's kind is text, not {kind!r:.80}"
        raise TypeError(msg)
    return Draft(
        kind=kind,
        payloads=[codec.dumps(payload, "the payload")],
        source=agent_source(message.sender, message.life),
        publisher=message.sender,
        number=message.seq,
        after=message.after,
        ids=[message.id],
        done=partial(done, message),
    )
