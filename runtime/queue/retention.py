"""Retention: what of a topic goes, and when."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import suppress
from typing import TYPE_CHECKING

from torpor.storage import Conflict, Rejected, ThreadWrite
from torpor.storage.errors import ConflictError, CorruptRecordError
from torpor.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.clock import Clock
    from torpor.queue.consumers import Consumer, ConsumerStore
    from torpor.queue.topic import Retention, Topic, TopicStore

__all__ = ["clean"]


def clean(
    store: TopicStore,
    consumers: ConsumerStore,
    clock: Clock,
    name: str,
    default: Retention,
) -> int:
    """Remove what the topic's retention lets go; return how many events that was.

    ``default`` is the retention of a topic that has none of its own. Costs a few point reads,
    whatever the size of the topic.
    """
    while True:
        topic = store.read(name)
        if topic.head is None or topic.start == topic.stop:
            return 0
        retention = topic.state.retention or default
        now = clock.time()
        try:
            kept = _drop_silent(store, topic, consumers, retention, now)
            before = _first_kept(store, topic, kept, retention, now)
        except CorruptRecordError:
            if store.read(name) == topic:
                raise
            continue  # no damage: somebody else has removed them
        if before <= topic.start:
            return 0
        write = ThreadWrite(id=topic.head.id, trim_before=before)
        change = topic.change(topic.state, write, now)
        [outcome] = retrying()(store.storage.commit, [change])
        if isinstance(outcome, Rejected):
            raise outcome.error
        if not isinstance(outcome, Conflict):
            return before - topic.start


def _drop_silent(
    store: TopicStore,
    topic: Topic,
    consumers: ConsumerStore,
    retention: Retention,
    now: float,
) -> list[Consumer]:
    """Remove consumers that have left something undone for too long; return the others."""
    found = consumers.of_topic(topic.name)
    if retention.drop_consumers_after is None:
        return found
    limit = now - retention.drop_consumers_after
    undone_since = _first_since(store, topic, limit)
    kept: list[Consumer] = []
    for consumer in found:
        if consumer.acknowledged + 1 >= undone_since or consumer.at >= limit:
            kept.append(consumer)
        else:
            with suppress(ConflictError):  # it lives, and counts again the next time
                consumers.remove(topic.name, consumer.name, rev=consumer.rev)
    return kept


def _first_kept(
    store: TopicStore,
    topic: Topic,
    consumers: Sequence[Consumer],
    retention: Retention,
    now: float,
) -> int:
    wanted = topic.start
    if retention.max_age is not None:
        wanted = max(wanted, _first_since(store, topic, now - retention.max_age))
    if retention.max_events is not None:
        wanted = max(wanted, topic.stop - retention.max_events)
    done = min((consumer.acknowledged + 1 for consumer in consumers), default=wanted)
    if retention.discard_after is not None:
        done = max(done, _first_since(store, topic, now - retention.discard_after))
    return min(wanted, done)


def _first_since(store: TopicStore, topic: Topic, at: float) -> int:
    """Return the number of the first event that was published after ``at``.

    By bisection: the times of a topic's events never go back.
    """
    assert topic.head is not None
    thread_id = topic.head.id

    def published(seq: int) -> float:
        [entry] = store.storage.read_entries(thread_id, seq, seq + 1)
        return entry.at

    numbers = range(topic.start, topic.stop)
    return topic.start + bisect_left(numbers, True, key=lambda seq: published(seq) > at)  # noqa: FBT003 - sought, not passed
