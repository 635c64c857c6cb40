"""A topic in the storage: one record that owns one thread, whose entries are the events.

Whatever happens to a topic is one change of that record, compared with the revision that was
read: so events, the marks of who published them and what retention removed never disagree. Keys
begin with a word and a colon, which no agent's address does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from torpor.queue.cursor import cursor_of
from torpor.queue.event import Event
from torpor.storage import Change, Put
from torpor.storage.errors import (
    CorruptRecordError,
    EventGapError,
    InvalidCursorError,
    StorageError,
)
from torpor.storage.keys import validate_key
from torpor.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torpor.storage import Checkpoint, Record, Storage, ThreadHead, ThreadWrite

__all__ = ["Retention", "Topic", "TopicState", "TopicStore", "consumer_prefix", "topic_key"]

_TOPIC = "topic:"
_TOPIC_KIND = "torpor.topic"


class Retention(BaseModel):
    """How long a topic keeps its events. Times are seconds; None = no such limit.

    Events go that are older than ``max_age`` (a day by default; 0: all) or are not among the
    newest ``max_events``, once every durable consumer has acknowledged them. A consumer that
    never does keeps them for ever, unless one of the other two limits is set:
    ``discard_after`` removes older events even if nobody has acknowledged them (who wanted them
    gets an ``EventGapError``), and ``drop_consumers_after`` removes a consumer that has left an
    event unacknowledged, and acknowledged nothing else, for so long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_age: float | None = Field(default=86_400.0, ge=0)
    max_events: int | None = Field(default=None, ge=0)
    discard_after: float | None = Field(default=None, ge=0)
    drop_consumers_after: float | None = Field(default=None, ge=0)


class TopicState(BaseModel):
    """What a topic's record holds beside its thread.

    ``sources``: of each source the number of its newest message, and the event it became.
    ``deleted``: the record stays, so that numbers are never given again.
    """

    sources: dict[str, tuple[int, int]] = Field(default_factory=dict[str, tuple[int, int]])
    retention: Retention | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it was read: its events are those with ``start <= seq < stop``."""

    name: str
    rev: int
    state: TopicState
    head: ThreadHead | None

    @property
    def key(self) -> str:
        """The key of its record."""
        return topic_key(self.name)

    @property
    def start(self) -> int:
        """The number of the oldest event that is kept."""
        return self.head.start if self.head else 0

    @property
    def stop(self) -> int:
        """The number that the next event gets."""
        return self.head.rev if self.head else 0

    def require(self, begin: int) -> None:
        """Raise unless a reader can begin with the event ``begin``."""
        if begin < self.start:
            raise EventGapError(
                self.name, missed=self.start - begin, resume=cursor_of(self.start - 1)
            )
        if begin:
            self.require_published(begin - 1)

    def require_published(self, seq: int) -> None:
        """Raise ``InvalidCursorError`` unless the topic has had an event ``seq``."""
        if seq >= self.stop:
            msg = f"{self.name!r} has no event {cursor_of(seq)!r} yet"
            raise InvalidCursorError(msg)

    def change(self, state: TopicState, thread: ThreadWrite | None, at: float) -> Change:
        """Return the change that makes ``state`` of this topic and writes to its thread."""
        data = state.model_dump_json(exclude_defaults=True)
        return Change(
            key=self.key,
            expected_rev=self.rev,
            put=Put(data=data, kind=_TOPIC_KIND),
            thread=thread,
            at=at,
        )


class TopicStore:
    """Reads topics and their events."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def read(self, name: str) -> Topic:
        """Return the topic; one that nobody wrote to is empty."""
        return _topic(name, retrying()(self.storage.get_checkpoint, topic_key(name)))

    def read_all(self, names: Iterable[str]) -> list[Topic]:
        """Return several topics, read in one step."""
        wanted = list(names)
        found = self.storage.read([topic_key(name) for name in wanted])
        for record in found:
            if isinstance(record, StorageError):
                raise record
        return [
            _topic(name, None if isinstance(record, StorageError) else record)
            for name, record in zip(wanted, found, strict=True)
        ]

    def names(self) -> list[str]:
        """Return the names of all topics that are not deleted."""
        names: list[str] = []
        cursor: str | None = None
        while True:
            page = self.storage.list_checkpoints(_TOPIC, cursor=cursor, limit=1000)
            found = self.read_all(record.key.removeprefix(_TOPIC) for record in page)
            names += [topic.name for topic in found if not topic.state.deleted]
            cursor = page.cursor
            if cursor is None:
                return sorted(names)

    def events(self, name: str, begin: int | None, limit: int) -> tuple[list[Event], int]:
        """Return up to ``limit`` events from number ``begin`` on, and the number after the newest.

        None begins with the oldest that is kept. Raises ``EventGapError`` if events from
        ``begin`` on are gone, ``InvalidCursorError`` if the topic is not so far yet.
        """
        while True:
            topic = self.read(name)
            first = topic.start if begin is None else begin
            topic.require(first)
            if topic.head is None:
                return [], 0
            stop = min(topic.stop, first + limit)
            try:
                entries = retrying()(self.storage.read_entries, topic.head.id, first, stop)
            except CorruptRecordError:
                if self.read(name) == topic:
                    raise
                continue  # no damage: they were removed between the two readings
            return [Event.of(name, entry) for entry in entries], topic.stop


def topic_key(name: str) -> str:
    """Return the key of a topic's record; ``InvalidKeyError`` if ``name`` can't be one."""
    validate_key(name)
    return validate_key(_TOPIC + name)


def consumer_prefix(topic: str) -> str:
    """Return what the keys of a topic's consumers begin with."""
    escaped = re.sub("[%/]", lambda match: f"%{ord(match[0]):X}", topic)
    return f"consumer:{escaped}/"


def _topic(name: str, record: Checkpoint | Record | None) -> Topic:
    if record is None:
        return Topic(name, 0, TopicState(), None)
    if record.kind != _TOPIC_KIND or record.data is None:
        raise CorruptRecordError(record.key, f"it is of kind {record.kind!r}, no topic")
    try:
        state = TopicState.model_validate_json(record.data)
    except ValueError as error:
        raise CorruptRecordError(record.key, f"not the state of a topic: {error}") from error
    return Topic(name, record.rev, state, record.thread)
