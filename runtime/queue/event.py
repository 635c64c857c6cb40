"""What is published: an event, and where in a topic a reader may begin."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from torpor.queue.cursor import cursor_of, seq_of

if TYPE_CHECKING:
    from torpor.storage import Entry

__all__ = ["Event", "Start"]


class Start(Enum):
    """Where a new subscriber begins."""

    EARLIEST = "earliest"
    """With the oldest event that is kept."""

    LATEST = "latest"
    """With the first event that is published from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a topic.

    ``cursor`` orders the events of a topic, also as text. ``payload`` is plain JSON data and
    each subscriber's own. ``at`` is when it was published, in seconds since the epoch; it never
    goes back within a topic. ``source`` is who published it, if that was given.
    """

    topic: str
    cursor: str
    payload: Any
    kind: str
    at: float
    id: str
    source: str | None = None

    @property
    def seq(self) -> int:
        """The event's number in its topic; counts from 0 without gaps."""
        return seq_of(self.cursor)

    @classmethod
    def of(cls, topic: str, entry: Entry) -> Event:
        """Return the event that is stored as ``entry`` of the topic's thread."""
        return cls(
            topic=topic,
            cursor=cursor_of(entry.seq),
            payload=entry.payload,
            kind=entry.kind,
            at=entry.at,
            id=entry.id,
            source=entry.refs.get("source"),
        )
