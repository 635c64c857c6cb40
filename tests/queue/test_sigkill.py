"""Publishers and consumers killed at random moments: no event is lost or doubled."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.processes import PATIENCE, child
from torpor import Agent, Runtime
from torpor.queue import EventQueue, Start, publish
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from torpor.queue import Event

SOURCES = 3
AGENTS = 5


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
        kills("postgresql", 2),
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


@pytest.mark.parametrize(
    ("backend", "count"),
    [
        kills("sqlite", 5),
        kills("postgresql", 2),
        kills("sqlite", 30, slow=True),
        kills("postgresql", 10, slow=True),
    ],
)
def test_events_of_turns_survive_kills(
    empty_place: Callable[[str], str], backend: str, count: int
) -> None:
    """A process of agents is killed: each committed turn's event is there once (EQ-1, W-29)."""
    url = empty_place(backend)
    chance = random.Random(f"agents {backend} {count}")
    told = dict.fromkeys(map(str, range(AGENTS)), 0)
    for life in range(count):
        with child(sell_until_killed, url) as (process, reports):
            for _ in range(chance.randrange(5, 60)):
                assert reports.poll(PATIENCE), f"life {life}: nothing was answered"
                key, answer = reports.recv()
                told[key] = answer
            process.join(chance.uniform(0, 0.02))
            process.kill()
            told |= received(reports)
    with (
        open_storage(url) as storage,
        EventQueue(storage) as queue,
        Runtime(storage, agents=[Seller]) as runtime,
    ):
        subscription = queue.subscribe("work", after=Start.EARLIEST)
        sold = {key: runtime.get(Seller, key).proxy().sold.get() for key in told}
        assert all(sold[key] >= told[key] for key in told)
        events: list[Message] = []
        while len(events) < sum(sold.values()):
            event = subscription.get(PATIENCE)
            assert event is not None, f"lost: {len(events)} events of {sold}"
            events.append(Message(*event.payload))
        assert subscription.get(0) is None
    for key, number in sold.items():
        numbers = [message.number for message in events if message.source == key]
        assert numbers == list(range(1, number + 1)), "lost, doubled or out of order"


class Seller(Agent, kind="seller"):
    """Publishes how often it was called."""

    sold: int = 0

    def sell(self) -> int:
        """Sell one more."""
        self.sold += 1
        publish("work", [self.id, self.sold])
        return self.sold


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


def received(connection: Connection) -> list[tuple[Any, Any]]:
    """Return what a killed process had sent."""
    messages: list[tuple[Any, Any]] = []
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


def sell_until_killed(url: str, reports: Connection) -> None:
    """Call each agent in turn, for ever; report each answer."""
    with Runtime(url, agents=[Seller], idle_timeout=0.001) as runtime:
        while True:
            replies = [
                (f"{n}", runtime.get(Seller, f"{n}").submit(Seller.sell)) for n in range(AGENTS)
            ]
            for key, reply in replies:
                reports.send((key, reply.get(timeout=PATIENCE)))


def consume_until_killed(url: str, reports: Connection) -> None:
    """Report each event, then acknowledge it, for ever."""
    with EventQueue(url, poll_interval=0.01) as queue:
        subscription = queue.subscribe("work", consumer="worker", after=Start.EARLIEST, buffer=16)
        for event in subscription:
            reports.send((event.seq, Message(*event.payload)))
            subscription.ack(event)
