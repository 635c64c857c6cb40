"""Being told of news by PostgreSQL and Redis, instead of looking for them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.places.sql import POSTGRESQL
from tests.queue.kit import PATIENCE, Listener, take, wait_until
from torpor.queue import EventQueue
from torpor.storage import open_storage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage

HOUR = 3600.0


@pytest.fixture(params=["postgresql", "redis"])
def url(request: pytest.FixtureRequest, empty_place: Callable[[str], str]) -> str:
    """Return the URL of an empty store of each backend that tells."""
    return empty_place(request.param)


@pytest.fixture
def storage(url: str) -> Iterator[Storage]:
    """Return one storage on it."""
    with open_storage(url) as storage:
        yield storage


def connections(channel: str) -> list[int]:
    """Return the server's numbers of the connections that listen to a channel."""
    query = f"""
        SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE query = 'LISTEN "{channel}"'
    """  # noqa: S608 - the test's own
    number = POSTGRESQL.count(query)
    return [number] if number else []


def test_subscribers_are_told(storage: Storage, url: str) -> None:
    """With an hour between two looks, events of another process still come at once."""
    with EventQueue(storage, poll_interval=HOUR) as here, EventQueue(url) as there:
        listener = Listener()
        subscription = here.subscribe("a", buffer=2)
        here.subscribe("a", listener)
        for n in range(10):
            there.publish("a", n)
        assert take(subscription, 10) == listener.wait_for(10) == list(range(10))


def test_only_the_own_store_is_heard(storage: Storage, url: str) -> None:
    """Stores of one database do not wake each other."""
    notifier, same = storage.notifier(), open_storage(url)
    assert notifier is not None
    neighbour = url.replace("prefix=", "prefix=other-")
    if neighbour == url:
        neighbour = f"{url}&table_prefix=other_"
    with same, open_storage(neighbour) as other:
        assert notifier.wait(0) == ()  # connects
        for place, key in ((other, "topic:theirs"), (same, "topic:ours")):
            teller = place.notifier()
            assert teller is not None
            teller.notify([key])
            teller.close()
        assert set(notifier.wait(PATIENCE)) == {"topic:ours"}
        notifier.close()
        notifier.close()
        assert notifier.wait(PATIENCE) == ()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_connection_that_ends_is_made_anew(
    storage: Storage, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The server ends the waiting: that is logged, and events are heard of as before."""
    with EventQueue(storage, poll_interval=0.05) as here, EventQueue(url) as there:
        subscription = here.subscribe("a")
        notifier = here._hub._notifier  # pyright: ignore[reportPrivateUsage]
        channel = getattr(notifier, "_channel")  # noqa: B009 - of this one only
        there.publish("a", 0)
        assert take(subscription, 1) == [0]
        with caplog.at_level(logging.WARNING, "torpor"):
            wait_until(lambda: bool(connections(channel)))
            listening = connections(channel)
            POSTGRESQL.hang_up(listening)
            wait_until(lambda: connections(channel) not in ([], listening))
        assert "cannot hear of new events" in caplog.text
        there.publish("a", 1)
        assert take(subscription, 1) == [1]


def test_telling_may_fail(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An event that nobody could be told of is published all the same."""

    class Broken:
        def notify(self, keys: object) -> None:
            raise OSError(keys)

        def wait(self, timeout: float) -> tuple[str, ...]:
            del timeout
            return ()

        def close(self) -> None:
            pass

    with MemoryStorage() as storage:
        monkeypatch.setattr(storage, "notifier", Broken)
        with EventQueue(storage) as queue, caplog.at_level(logging.WARNING, "torpor"):
            subscription = queue.subscribe("a")
            queue.publish("a", 1)
            assert take(subscription, 1) == [1]
        assert "hear late" in caplog.text
