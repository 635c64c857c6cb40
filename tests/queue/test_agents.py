"""Agents that publish in their turns, and agents that get events."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.queue.kit import PATIENCE, Listener, payloads, take, wait_until
from torpor import Agent, ConfigurationError, Runtime
from torpor.outbox import EarlyMessageError, Outgoing
from torpor.queue import Event, EventQueue, Start, publish, to_agent
from torpor.queue.outgoing import TopicDeliverer
from torpor.queue.sources import MAX_SOURCES
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor import AgentRef
    from torpor.storage import Storage


class Shop(Agent, kind="shop"):
    """Sells, and publishes each sale."""

    sold: int = 0

    def sell(self, *, fail: bool = False) -> int:
        """Sell one more, or fail after all is done."""
        self.sold += 1
        publish("sales", {"shop": self.id, "n": self.sold}, kind="sale")
        if fail:
            raise ValueError(self.sold)
        return self.sold


class Clerk(Agent, kind="clerk"):
    """Notes sales in its thread."""

    noted: int = 0

    def note(self, event: Event) -> None:
        """Note one."""
        self.noted += 1
        self.thread.append("sale", [event.payload, event.cursor, event.source])

    def sales(self) -> list[Any]:
        """Return what was noted."""
        return [entry.payload[0] for entry in self.thread.entries()]

    def trouble(self, event: Event) -> None:
        """Never get anywhere."""
        raise RuntimeError(event.cursor)


def test_an_event_exists_if_the_turn_commits(storage: Storage) -> None:
    """Events of turns that succeed come, once and in order; those of others never do (EQ-1)."""
    with EventQueue(storage) as queue, Runtime(storage) as runtime:
        subscription = queue.subscribe("sales")
        shop = runtime.get(Shop, "a")
        for n in range(6):
            if n % 3 == 1:
                with pytest.raises(ValueError, match=f"{shop.proxy().sold.get() + 1}"):
                    shop.ask(Shop.sell, fail=True)
            else:
                shop.ask(Shop.sell)
        assert take(subscription, 4) == [{"shop": "a", "n": n} for n in (1, 2, 3, 4)]
        [first, *_] = queue.recover("sales")
        assert (first.kind, first.source) == ("sale", "shop/a")
        assert subscription.get(0) is None


def test_many_agents_publish_at_once(storage: Storage) -> None:
    """Every sale of every shop is there once, each shop's own in order."""
    shops, each = 20, 10
    with EventQueue(storage) as queue, Runtime(storage) as runtime:
        subscription = queue.subscribe("sales")
        replies = [
            runtime.get(Shop, f"{n}").submit(Shop.sell) for _ in range(each) for n in range(shops)
        ]
        for reply in replies:
            reply.get(timeout=PATIENCE)
        sales = take(subscription, shops * each)
        assert subscription.get(0) is None
    for n in range(shops):
        assert [sale["n"] for sale in sales if sale["shop"] == f"{n}"] == list(range(1, each + 1))


class Nowhere:
    """A deliverer that loses everything, as a process does that is killed."""

    def deliver(
        self,
        messages: Sequence[Outgoing],
        done: Callable[[Outgoing, BaseException | None], None],
    ) -> None:
        """Do nothing."""


def test_a_crash_before_delivery_loses_no_event(storage: Storage) -> None:
    """The turn is committed and nothing is published: the next runtime does that (EQ-11)."""
    with Runtime(storage) as runtime:
        runtime.manager.courier.register("topic", Nowhere())
        for _ in range(3):
            runtime.get(Shop, "a").ask(Shop.sell)
    with EventQueue(storage) as queue, Runtime(storage, agents=[Shop]) as runtime:
        assert queue.recover("sales").items == ()
        subscription = queue.subscribe("sales", after=Start.EARLIEST)
        assert runtime.get(Shop, "a").ask(Shop.sell) == 4
        assert [sale["n"] for sale in take(subscription, 4)] == [1, 2, 3, 4]


class Deliveries:
    """Messages of agents' outboxes, delivered when and as often as the test says."""

    def __init__(self, runtime: Runtime) -> None:
        self.deliverer = TopicDeliverer(runtime.manager)
        self.messages: list[Outgoing] = []
        self.came = threading.Semaphore(0)
        runtime.manager.courier.register("topic", self)

    def deliver(
        self,
        messages: Sequence[Outgoing],
        done: Callable[[Outgoing, BaseException | None], None],
    ) -> None:
        """Keep them."""
        del done
        self.messages += messages
        for _ in messages:
            self.came.release()

    def now(self, *messages: Outgoing) -> list[BaseException | None]:
        """Deliver messages and return what became of each."""
        finished = threading.Semaphore(0)
        results: dict[str, BaseException | None] = {}

        def done(message: Outgoing, error: BaseException | None) -> None:
            results[message.id] = error
            finished.release()

        self.deliverer.deliver(messages, done)
        for _ in messages:
            assert finished.acquire(timeout=PATIENCE)
        return [results[message.id] for message in messages]


def test_a_message_delivered_again_is_published_once(storage: Storage) -> None:
    """Who did not hear that it was published hands it over again, and nothing comes of it."""
    with EventQueue(storage) as queue, Runtime(storage) as runtime:
        deliveries = Deliveries(runtime)
        for _ in range(2):
            runtime.get(Shop, "a").ask(Shop.sell)
            assert deliveries.came.acquire(timeout=PATIENCE)
        first, second = deliveries.messages
        [early] = deliveries.now(second)
        assert isinstance(early, EarlyMessageError)
        assert deliveries.now(first) == [None]
        assert deliveries.now(first, second) == [None, None]
        assert deliveries.now(second) == [None]
        assert [sale["n"] for sale in payloads(queue.recover("sales"))] == [1, 2]


def test_a_topic_forgets_agents_that_need_no_mark(storage: Storage) -> None:
    """Marks are pruned, and even then a message that comes again late is published once."""
    with EventQueue(storage) as queue, Runtime(storage, max_live=50) as runtime:
        deliveries = Deliveries(runtime)
        unheard = runtime.get(Shop, "unheard")
        late = runtime.get(Shop, "late")
        for shop in (unheard, late):
            shop.ask(Shop.sell)
            assert deliveries.came.acquire(timeout=PATIENCE)
        messages = list(deliveries.messages)
        assert deliveries.now(*messages[:1]) == deliveries.now(*messages[1:]) == [None]
        late.delete()  # as if it had been told
        runtime.manager.courier.register("topic", deliveries.deliverer)
        subscription = queue.subscribe("sales")
        for n in range(MAX_SOURCES + 50):
            runtime.get(Shop, f"{n}").tell(Shop.sell)
        take(subscription, MAX_SOURCES + 50)

        def marks() -> list[str]:
            runtime.get(Shop, "busy").ask(Shop.sell)
            stored = storage.get_checkpoint("topic:sales")
            assert stored is not None
            return list(stored.value["sources"])

        wait_until(lambda: len(marks()) <= MAX_SOURCES)  # those that are told by now
        sources = " ".join(marks())
        assert "shop/unheard" in sources
        assert "shop/late" not in sources
        assert deliveries.now(*messages[:1]) == deliveries.now(*messages[1:]) == [None]
        sellers = [event.payload["shop"] for event in queue.recover("sales")]
        assert (sellers.count("unheard"), sellers.count("late")) == (1, 1)


def test_publishing_needs_a_turn(storage: Storage) -> None:
    """Outside of a turn there is no outbox: ``EventQueue.publish`` is for that."""
    with pytest.raises(ConfigurationError, match="turn"):
        publish("sales", {})
    with EventQueue(storage) as queue, pytest.raises(ConfigurationError, match="agents"):
        queue.publish("sales", {}, source="$agent x shop/a")


def test_events_come_to_agents(storage: Storage) -> None:
    """Each event goes to the agent that is chosen for it, asleep or not, once and in order."""
    with (
        Runtime(storage, max_live=1, agents=[Clerk]) as runtime,
        EventQueue(storage) as queue,
    ):

        def clerk(event: Event) -> Any:
            number = event.payload["n"]
            return runtime.get(Clerk, f"{number % 3}") if number else None

        queue.subscribe("sales", to_agent(Clerk.note, clerk), consumer="clerks")
        for n in range(13):
            queue.publish("sales", {"n": n})
        wait_until(lambda: queue.unread("clerks", "sales") == 0)
        for key in range(3):
            expected = [{"n": n} for n in range(1, 13) if n % 3 == key]
            wait_until(partial(_has_noted, runtime.get(Clerk, f"{key}"), expected))


def test_an_event_that_is_sent_twice_is_applied_once(storage: Storage) -> None:
    """Killed between sending and acknowledging: the agent applies the event once (W-29)."""
    with Runtime(storage) as runtime, EventQueue(storage) as queue:
        clerk = runtime.get(Clerk, "a")
        send = to_agent(Clerk.note, clerk)
        queue.publish_all("sales", [1, 2])
        for event in [*queue.recover("sales"), *queue.recover("sales")]:
            send(event)
        queue.subscribe("sales", send, consumer="again", after=Start.EARLIEST)
        queue.publish("sales", 3)
        wait_until(partial(_has_noted, clerk, [1, 2, 3]))


def test_an_agent_that_fails_holds_up_no_other(storage: Storage) -> None:
    """What a method raises concerns its agent; the subscription goes on (EQ-4)."""
    with Runtime(storage) as runtime, EventQueue(storage) as queue:
        listener = Listener()
        queue.subscribe("sales", to_agent(Clerk.trouble, runtime.get(Clerk, "a")), consumer="a")
        queue.subscribe("sales", listener)
        for n in range(3):
            queue.publish("sales", n)
        wait_until(lambda: queue.unread("a", "sales") == 0)
        assert listener.wait_for(3) == [0, 1, 2]


def test_subscribers_here_hear_of_agents_at_once() -> None:
    """A queue on the runtime's storage hears what agents publish without looking for it."""
    with (
        MemoryStorage() as storage,
        Runtime(storage) as runtime,
        EventQueue(storage, poll_interval=3600) as queue,
    ):
        subscription = queue.subscribe("sales")
        runtime.get(Shop, "a").ask(Shop.sell)
        assert take(subscription, 1) == [{"shop": "a", "n": 1}]


def _has_noted(clerk: AgentRef[Clerk], expected: list[Any]) -> bool:
    return clerk.ask(Clerk.sales) == expected
