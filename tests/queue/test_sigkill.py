"""Publisher and consumer killed at random moments: no event is lost or doubled."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.processes import PATIENCE, child
from torpor.queue import EventQueue, Start

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from torpor.queue import Event

SOURCES = 3


class Message(NamedTuple):
    """The message ``number`` of ``source``."""

    source: str
    number: int


def kills(backend: str, count: int, *, slow: bool = False) -> object:
    """Return one parameter set of the test."""
    marks = [pytest.mark.slow, pytest.mark.timeout(900)] if slow else [pytest.mark.timeout(180)]
    return pytest.param(backend, count, marks=marks, id=f"{backend}-{count}")


@pytest.mark.parametrize(
    ("backend", "count"),
    [
        kills("sqlite", 5),
        kills("postgresql", 5),
        kills("sqlite", 30, slow=True),
        kills("postgresql", 10, slow=True),
    ],
)
def test_events_survive_kills(empty_place: Callable[[str], str], backend: str, count: int) -> None:
    """What was acknowledged to the publisher is there once; the consumer gets all (EQ-11, W-29).

    The publisher numbers its messages, and repeats the last one that nobody acknowledged.
    """
    url = empty_place(backend)
    chance = random.Random(f"{backend} {count}")
    sent = [0] * SOURCES  # of each source: how many publishes were acknowledged
    handled: list[tuple[int, Message]] = []  # by the consumer, in order, with repetitions
    for life in range(count):
        with (
            child(publish_until_killed, url, list(sent)) as (publisher, acknowledged),
            child(consume_until_killed, url) as (consumer, heard),
        ):
            for _ in range(chance.randrange(5, 60)):
                assert acknowledged.poll(PATIENCE), f"life {life}: nothing was published"
                source, number = acknowledged.recv()
                sent[source] = number + 1
            first, second = chance.sample([publisher, consumer], 2)
            first.kill()
            first.join(chance.uniform(0, 0.02))
            second.kill()
            for source, number in received(acknowledged):
                sent[source] = number + 1
            handled += received(heard)
    with EventQueue(url) as queue:
        remaining = queue.subscribe("work", consumer="worker", after=Start.EARLIEST)
        while (event := remaining.get(0)) is not None:
            handled.append((event.seq, Message(*event.payload)))
        stored = [Message(*event.payload) for event in everything(queue)]
    for source in range(SOURCES):
        numbers = [message.number for message in stored if message.source == f"{source}"]
        assert numbers == list(range(len(numbers))), "lost, doubled or out of order"
        assert sent[source] <= len(numbers) <= sent[source] + 1, "more or less than was sent"
    assert dict(handled) == dict(enumerate(stored)), "not all was handled"
    check_order([seq for seq, _ in handled])


def check_order(seqs: list[int]) -> None:
    """See that only unacknowledged events came again: it never jumps ahead."""
    furthest = -1
    for seq in seqs:
        assert seq <= furthest + 1, "an event was left out"
        furthest = max(furthest, seq)


def everything(queue: EventQueue) -> list[Event]:
    """Return all events of the topic, page by page."""
    page = queue.recover("work")
    events = list(page)
    while page.cursor is not None:
        page = queue.recover("work", page.cursor)
        events += page
    return events


def received(connection: Connection) -> list[tuple[int, Any]]:
    """Return what a killed process had sent."""
    messages: list[tuple[int, Any]] = []
    with suppress(EOFError, OSError):  # it may be killed while it tells
        while True:
            messages.append(connection.recv())
    return messages


def publish_until_killed(url: str, numbers: list[int], reports: Connection) -> None:
    """Publish the next numbers of each source in turn, for ever; report each."""
    with EventQueue(url) as queue:
        while True:
            for source in range(SOURCES):
                number = numbers[source]
                message = Message(f"{source}", number)
                queue.publish("work", list(message), source=message.source, number=number)
                numbers[source] += 1
                reports.send((source, number))


def consume_until_killed(url: str, reports: Connection) -> None:
    """Report each event, then acknowledge it, for ever."""
    with EventQueue(url, poll_interval=0.01) as queue:
        subscription = queue.subscribe("work", consumer="worker", after=Start.EARLIEST, buffer=16)
        for event in subscription:
            reports.send((event.seq, Message(*event.payload)))
            subscription.ack(event)
