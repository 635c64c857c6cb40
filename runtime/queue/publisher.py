"""Publishing: what several threads publish meanwhile is one change of the topic's record."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torpor.outbox import EarlyMessageError
from torpor.queue.cursor import cursor_of
from torpor.queue.event import Event
from torpor.queue.sources import held_by, is_agent, pruned
from torpor.storage import Conflict, Entry, Rejected, Saved, ThreadWrite, codec
from torpor.storage.errors import ConflictError, StorageUnavailableError
from torpor.storage.records import new_id
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff, retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Sequence

    from torpor.clock import Clock
    from torpor.queue.topic import Topic, TopicStore
    from torpor.storage import Change

__all__ = ["Draft", "Publisher"]

logger = logging.getLogger("torpor")

_MAX_BATCH = 256
_SOONEST = 3
"""Attempts after which the pauses grow no more: who pauses long never meets a busy rival's gap."""


@dataclass(slots=True, eq=False)
class Draft:
    """What one call publishes, and what became of it.

    ``number`` is that of the message at its ``source``: it is published only if the topic has
    nothing of that source with this number or a greater one, and has the number ``after``, if
    that one is not done with. ``publisher`` is who is named in the event. ``done`` is called,
    once, with the error or None.
    """

    kind: str
    payloads: Sequence[str]
    source: str | None = None
    publisher: str | None = None
    number: int = 0
    after: int | None = None
    ids: Sequence[str] = ()
    done: Callable[[BaseException | None], None] | None = None
    first: int | None = None
    error: BaseException | None = None

    @property
    def finished(self) -> bool:
        """Whether it was published, found published already, or failed."""
        return self.first is not None or self.error is not None

    def cursors(self) -> list[str]:
        """Return the cursors of its events, or raise why there are none."""
        if self.error is not None:
            raise self.error
        assert self.first is not None
        return [cursor_of(self.first + i) for i in range(len(self.payloads))]


@dataclass(slots=True)
class _Batch:
    """One change of a topic, and the drafts that it publishes."""

    change: Change
    drafts: list[Draft]
    events: list[Event] = field(default_factory=list[Event])


class Publisher:
    """Publishes to one topic. Thread-safe: whoever finds it free commits for all that wait."""

    def __init__(
        self,
        store: TopicStore,
        clock: Clock,
        topic: str,
        published: Callable[[str, Sequence[Event]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._name = topic
        self._published = published
        self._waiting: deque[Draft] = deque()
        self._committing = threading.Lock()
        self._topic: Topic | None = None

    def publish(self, draft: Draft) -> list[str]:
        """Return the cursors of the draft's events once they are durable.

        Of a draft that was published before: those of the source's newest message.
        """
        self._waiting.append(draft)
        with self._committing:
            while not draft.finished:
                self._commit_next()
        return draft.cursors()

    def submit(self, drafts: Iterable[Draft]) -> None:
        """Take drafts, in order, for whoever publishes next, or for ``drain``."""
        self._waiting.extend(drafts)

    def drain(self) -> None:
        """Publish all that waits."""
        with self._committing:
            while self._waiting:
                self._commit_next()

    def _commit_next(self) -> None:
        count = min(len(self._waiting), _MAX_BATCH)
        drafts = [self._waiting.popleft() for _ in range(count)]
        try:
            self._commit(drafts)
        finally:
            for draft in drafts:
                if draft.done is not None:
                    try:
                        draft.done(draft.error)
                    except Exception:
                        logger.exception("nobody could be told that %s was published", draft.ids)

    def _commit(self, drafts: list[Draft]) -> None:
        try:
            self._commit_together(drafts)
        except BaseException as error:
            self._topic = None
            ours = isinstance(error, Exception)
            told = error if ours else StorageUnavailableError(f"interrupted: {error!r}")
            for draft in drafts:
                if not draft.finished:
                    draft.error = told
            if not ours:
                raise

    def _commit_together(self, drafts: list[Draft]) -> None:
        deadline = time.monotonic() + MAX_RETRY_SECONDS
        attempt = 0
        while True:
            topic = self._topic or self._store.read(self._name)
            batch = self._batch(topic, drafts)
            if batch is None:
                self._topic = topic
                return
            outcome, resent = self._send(batch.change)
            if isinstance(outcome, Rejected):
                self._commit_singly(batch, outcome)
                return
            if isinstance(outcome, Saved):
                self._saved(topic, batch, outcome)
                return
            self._topic = None
            attempt += 1
            if resent and self._was_applied(topic, batch):
                self._finish(topic.stop, batch)
                return
            if time.monotonic() > deadline:
                raise ConflictError(
                    outcome.key, expected=outcome.expected, found=outcome.found
                ) from None
            time.sleep(backoff(min(attempt, _SOONEST)))

    def _commit_singly(self, batch: _Batch, outcome: Rejected) -> None:
        """Let only that draft fail which can't be stored."""
        if len(batch.drafts) == 1:
            raise outcome.error
        for draft in batch.drafts:
            self._commit([draft])

    def _batch(self, topic: Topic, drafts: Sequence[Draft]) -> _Batch | None:
        """Return what publishes ``drafts`` in ``topic``, None if all were published before."""
        sources = dict(topic.state.sources)
        at = max(self._clock.time(), topic.head.updated_at if topic.head else 0.0)
        held = self._look(drafts, sources)
        entries: list[Entry] = []
        fresh: list[Draft] = []
        for draft in drafts:
            if draft.finished:
                continue
            if draft.source is not None:
                number, seq = sources.get(draft.source, (-1, -1))
                waiting = held.get(draft.source)
                if draft.number <= number or (waiting is not None and draft.number not in waiting):
                    draft.first = seq  # it was published before
                    continue
                if draft.after is not None and number < draft.after in (waiting or (draft.after,)):
                    draft.error = EarlyMessageError(draft.ids)
                    continue
                sources.pop(draft.source, None)  # the newest is last
                sources[draft.source] = (draft.number, topic.stop + len(entries))
            entries += _entries(draft, at)
            fresh.append(draft)
        if not entries:
            return None
        sources = pruned(self._store.storage, sources)
        state = topic.state.model_copy(update={"sources": sources, "deleted": False})
        thread_id = topic.head.id if topic.head else f"{topic.key}#{new_id()}"
        change = topic.change(state, ThreadWrite(id=thread_id, entries=tuple(entries)), at)
        numbered = (replace(entry, seq=topic.stop + i) for i, entry in enumerate(entries))
        return _Batch(change, fresh, [Event.of(topic.name, entry) for entry in numbered])

    def _look(self, drafts: Iterable[Draft], sources: Container[str]) -> dict[str, Collection[int]]:
        """Return what the outboxes hold of those agents that the topic has no mark of."""
        unknown = {draft.source for draft in drafts if draft.source and is_agent(draft.source)}
        return held_by(self._store.storage, [source for source in unknown if source not in sources])

    def _send(self, change: Change) -> tuple[Saved | Conflict | Rejected, bool]:
        """Return the outcome, and whether it was sent more than once."""
        commit = retrying()
        [outcome] = commit(self._store.storage.commit, [change])
        return outcome, commit.statistics["attempt_number"] > 1

    def _saved(self, topic: Topic, batch: _Batch, outcome: Saved) -> None:
        assert batch.change.put is not None
        state = type(topic.state).model_validate_json(batch.change.put.data)
        self._topic = replace(topic, rev=outcome.rev, state=state, head=outcome.thread)
        self._finish(topic.stop, batch)

    def _finish(self, first: int, batch: _Batch) -> None:
        for draft in batch.drafts:
            draft.first = first
            first += len(draft.payloads)
        self._published(self._name, batch.events)

    def _was_applied(self, topic: Topic, batch: _Batch) -> bool:
        """Whether a change that was sent twice, and conflicted, is what it conflicted with."""
        now = self._store.read(self._name)
        write = batch.change.thread
        assert write is not None
        if now.head is None or now.head.id != write.id or now.stop <= topic.stop:
            return False
        if now.start > topic.stop:
            raise ConflictError(topic.key, expected=topic.rev, found=now.rev, outcome="unknown")
        [entry] = self._store.storage.read_entries(write.id, topic.stop, topic.stop + 1)
        return entry.id == write.entries[0].id


def _entries(draft: Draft, at: float) -> list[Entry]:
    publisher = draft.publisher or draft.source
    refs: dict[str, Any] = {} if publisher is None else {"source": publisher}
    ids = draft.ids or [f"event_{new_id()}" for _ in draft.payloads]
    entries = [
        Entry(kind=draft.kind, payload=json.loads(payload), refs=refs, at=at, id=entry_id)
        for payload, entry_id in zip(draft.payloads, ids, strict=True)
    ]
    for entry in entries:
        codec.require_storable(entry)
    return entries
