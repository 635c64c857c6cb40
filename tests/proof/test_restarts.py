"""A server that is stopped and started again under load."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.proof.tally import Tally
from tests.servers.registry import SERVERS
from torpor import Runtime
from torpor.storage.errors import StorageUnavailableError
from torpor.storage.testing.kit import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from tests.servers.base import PrivateServer

STOPS = [(name, stop) for name, server in SERVERS.items() for stop in server.stops]


class Load:
    """A thread for each key that counts its tally, for as long as it is told what was saved."""

    def __init__(self, runtime: Runtime, keys: Iterable[str]) -> None:
        self.acknowledged = dict.fromkeys(keys, 0)
        self._runtime = runtime
        self._moved = threading.Condition()
        self._enough = threading.Event()
        self._errors: list[BaseException] = []

    @contextmanager
    def running(self) -> Generator[None]:
        """Count, until the block is left."""
        threads = [
            threading.Thread(target=self._count, args=(key,), daemon=True)
            for key in self.acknowledged
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._enough.set()
            for thread in threads:
                thread.join(PATIENCE)
        assert self._errors == []

    def await_progress(self) -> None:
        """Wait until each agent has counted again, more than once: one may have been under way."""
        with self._moved:
            goals = {key: number + 3 for key, number in self.acknowledged.items()}
            assert self._moved.wait_for(lambda: self._errors or self._reached(goals), PATIENCE)

    def _reached(self, goals: dict[str, int]) -> bool:
        return all(self.acknowledged[key] >= goal for key, goal in goals.items())

    def _count(self, key: str) -> None:
        tally = self._runtime.get(Tally, key)
        try:
            while not self._enough.is_set():
                number = tally.ask(Tally.add)
                assert number == self.acknowledged[key] + 1
                with self._moved:
                    self.acknowledged[key] = number
                    self._moved.notify()
        except BaseException as error:  # noqa: BLE001 - told on the test's thread
            with self._moved:
                self._errors.append(error)
                self._moved.notify()


@pytest.fixture(scope="module")
def started() -> Iterator[Callable[[str], PrivateServer]]:
    """Return what gives the server with a name, which is started by the first test of it."""
    with ExitStack() as servers:

        @cache
        def start(name: str) -> PrivateServer:
            return servers.enter_context(closing(SERVERS[name]()))

        yield start


@pytest.fixture
def server(
    request: pytest.FixtureRequest, started: Callable[[str], PrivateServer]
) -> PrivateServer:
    """Return a server that runs, with what the tests before have stored there."""
    return started(request.param)


@pytest.mark.parametrize(("server", "stop"), STOPS, indirect=["server"])
def test_restarted_server(server: PrivateServer, stop: str) -> None:
    """Agents go on once it is back, and nothing acknowledged is missing (rule 3, rule 8)."""
    keys = [f"tally {number} {stop}" for number in range(4)]
    with Runtime(server.url) as runtime:
        load = Load(runtime, keys)
        with load.running():
            load.await_progress()
            server.stop(stop)
            server.start()
            load.await_progress()

    with Runtime(server.url) as runtime:
        for key, number in load.acknowledged.items():
            assert runtime.get(Tally, key).ask(Tally.history) == list(range(1, number + 1))


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_server_that_is_not_there(server: PrivateServer) -> None:
    """A connection that is refused at the start is one error, within the timeout."""
    server.stop("in good order")
    try:
        begin = time.monotonic()
        with pytest.raises(StorageUnavailableError, match=str(server.port)):
            Runtime(server.url)
        assert time.monotonic() - begin < PATIENCE
    finally:
        server.start()
