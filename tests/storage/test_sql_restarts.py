"""A server that is stopped and started again under load."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.storage.sql_programs import Tally
from tests.storage.sql_restarts import PrivateMariaDB, PrivatePostgreSQL
from torpor import Runtime
from torpor.storage.testing.kit import PATIENCE

if TYPE_CHECKING:
    from tests.storage.sql_restarts import PrivateServer

KEYS = [f"tally {number}" for number in range(4)]


@pytest.mark.parametrize("kind", [PrivatePostgreSQL, PrivateMariaDB])
def test_restarted_server(kind: type[PrivateServer]) -> None:
    """Agents go on once it is back, and nothing acknowledged is missing (rule 3, rule 8)."""
    acknowledged = dict.fromkeys(KEYS, 0)
    progress = {key: threading.Semaphore(0) for key in KEYS}
    enough = threading.Event()
    errors: list[BaseException] = []

    with closing(kind()) as server:
        with Runtime(server.url) as runtime:

            def count(key: str) -> None:
                try:
                    while not enough.is_set():
                        number = runtime.get(Tally, key).ask(Tally.add)
                        assert number == acknowledged[key] + 1
                        acknowledged[key] = number
                        progress[key].release()
                except BaseException as error:  # noqa: BLE001 - told on the test's thread
                    errors.append(error)
                    progress[key].release()

            threads = [threading.Thread(target=count, args=(key,), daemon=True) for key in KEYS]
            for thread in threads:
                thread.start()
            for stop in server.stops:
                _await_progress(progress)
                server.stop(stop)
                server.start()
                _await_progress(progress)
            enough.set()
            for thread in threads:
                thread.join(PATIENCE)
            assert errors == []

        with Runtime(server.url) as runtime:
            for key, number in acknowledged.items():
                assert runtime.get(Tally, key).ask(Tally.history) == list(range(1, number + 1))


def _await_progress(progress: dict[str, threading.Semaphore]) -> None:
    """Wait until each agent has counted again, more than once: one may have been under way."""
    for semaphore in progress.values():
        while semaphore.acquire(blocking=False):
            pass
    for semaphore in progress.values():
        for _ in range(3):
            assert semaphore.acquire(timeout=PATIENCE), "an agent does not go on"
