"""Durable consumers: how far each has come in a topic. One record each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from torpor.queue.cursor import cursor_of
from torpor.queue.topic import consumer_prefix, topic_key
from torpor.storage import Change, Conflict, Put, Rejected
from torpor.storage.errors import ConflictError, CorruptRecordError, StorageError
from torpor.storage.keys import validate_key
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff, retrying

if TYPE_CHECKING:
    from torpor.clock import Clock
    from torpor.storage import Checkpoint, Record, Storage

__all__ = ["Consumer", "ConsumerStore"]

_KIND = "torpor.consumer"
_PAGE = 1000


class _State(BaseModel):
    """The number of the newest event that is acknowledged; -1: none."""

    acknowledged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """A consumer of a topic. ``at``: when it last registered or acknowledged something new."""

    name: str
    topic: str
    acknowledged: int
    at: float
    rev: int

    @property
    def cursor(self) -> str | None:
        """The cursor that it has acknowledged, None before the first event of all."""
        return None if self.acknowledged < 0 else cursor_of(self.acknowledged)


class ConsumerStore:
    """Reads and writes the consumers of topics. Thread-safe, and for many processes."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock

    def get(self, topic: str, name: str) -> Consumer | None:
        """Return the consumer, None if it never registered or was removed."""
        key = _key(topic, name)
        return _consumer(topic, retrying()(self._storage.get_checkpoint, key))

    def register(self, topic: str, name: str, acknowledged: int) -> Consumer:
        """Return the consumer; a new one has acknowledged events up to ``acknowledged``."""
        return self.get(topic, name) or self._advance(topic, name, acknowledged)

    def acknowledge(self, topic: str, name: str, seq: int) -> Consumer:
        """Note that all events up to ``seq`` are done with. Never goes back."""
        return self._advance(topic, name, seq)

    def of_topic(self, topic: str) -> list[Consumer]:
        """Return the topic's consumers by name."""
        found: list[Consumer] = []
        cursor: str | None = None
        while True:
            prefix = consumer_prefix(topic)
            page = self._storage.list_checkpoints(prefix, cursor=cursor, limit=_PAGE)
            for record in self._storage.read([item.key for item in page]):
                if isinstance(record, StorageError):
                    raise record
                consumer = _consumer(topic, record)
                if consumer is not None:
                    found.append(consumer)
            cursor = page.cursor
            if cursor is None:
                return sorted(found, key=lambda consumer: consumer.name)

    def remove(self, topic: str, name: str, *, rev: int | None = None) -> None:
        """Forget the consumer; with ``rev`` ``ConflictError`` if it was written since."""
        self._storage.delete_checkpoint(_key(topic, name), expected_rev=rev)

    def _advance(self, topic: str, name: str, seq: int) -> Consumer:
        deadline = time.monotonic() + MAX_RETRY_SECONDS
        attempt = 0
        while True:
            stored = self.get(topic, name)
            if stored is not None and stored.acknowledged >= seq:
                return stored
            at = self._clock.time()
            put = Put(data=_State(acknowledged=seq).model_dump_json(), kind=_KIND)
            rev = stored.rev if stored else 0
            change = Change(key=_key(topic, name), expected_rev=rev, put=put, at=at)
            [outcome] = retrying()(self._storage.commit, [change])
            if isinstance(outcome, Rejected):
                raise outcome.error
            if not isinstance(outcome, Conflict):
                return Consumer(name=name, topic=topic, acknowledged=seq, at=at, rev=outcome.rev)
            attempt += 1
            if time.monotonic() > deadline:
                raise ConflictError(change.key, expected=rev, found=outcome.found)
            time.sleep(backoff(attempt))


def _key(topic: str, name: str) -> str:
    topic_key(topic)
    validate_key(name)
    return validate_key(consumer_prefix(topic) + name)


def _consumer(topic: str, record: Checkpoint | Record | None) -> Consumer | None:
    if record is None:
        return None
    if record.kind != _KIND or record.data is None:
        raise CorruptRecordError(record.key, f"it is of kind {record.kind!r}, no consumer")
    try:
        state = _State.model_validate_json(record.data)
    except ValueError as error:
        raise CorruptRecordError(record.key, f"not the state of a consumer: {error}") from error
    return Consumer(
        name=record.key.removeprefix(consumer_prefix(topic)),
        topic=topic,
        acknowledged=state.acknowledged,
        at=record.updated_at,
        rev=record.rev,
    )
