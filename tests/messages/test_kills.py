"""Processes that send and receive are killed at random moments: no message is lost or doubled."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from pydantic import Field

from tests.processes import PATIENCE, child
from torpor import Agent, Runtime, thaw
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from torpor.storage import Storage

SENDERS = 4
RECEIVERS = 3

Told = set[tuple[str, int]]


class Clerk(Agent):
    """Numbers its messages itself; a receiver is chosen by the number."""

    sent: int = 0

    def send_one(self) -> int:
        """Send the next message; return its number."""
        number = self.sent
        self.sent += 1
        receiver = self.runtime.get(Archive, str(number % RECEIVERS))
        receiver.send(Archive.keep, self.id, number)
        return number


class Archive(Agent):
    """Keeps each message in its thread; in its state the last of each sender."""

    last: dict[str, int] = Field(default_factory=dict)

    def keep(self, sender: str, number: int) -> None:
        """Keep a message."""
        self.last[sender] = number
        self.thread.append("message", [sender, number])


full_size = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("backend", "kills"),
    [
        ("sqlite", 5),
        ("postgresql", 2),
        pytest.param("sqlite", 30, marks=full_size),
        pytest.param("postgresql", 10, marks=full_size),
    ],
)
def test_durable_messages_survive_kills(
    empty_place: Callable[[str], str], backend: str, kills: int
) -> None:
    """After SIGKILLs of sender and receiver each message is applied once, in order (HC-8, HC-27).

    Those of agents are exactly those that their turns committed; those from outside are at
    least those whose ``send`` had returned.
    """
    url = empty_place(backend)
    chance = random.Random(f"{backend} {kills}")
    told: Told = set()
    for life in range(kills):
        told |= _live_and_die(url, f"life {life}", chance)
    with open_storage(url) as storage:
        with Runtime(storage, agents=[Clerk, Archive], wake_interval=0.1):
            _wait_until_nothing_is_due(storage)
        _check(storage, told)


def _live_and_die(url: str, name: str, chance: random.Random) -> Told:
    """Kill a process at a random moment of its work; return what it was told was sent."""
    told: Told = set()
    with child(send_until_killed, url, name) as (process, receiver):
        for _ in range(chance.randrange(1, 150)):
            assert receiver.poll(PATIENCE), "the process sent nothing"
            told.add(receiver.recv())
        process.join(chance.uniform(0, 0.01))
        process.kill()
        with suppress(EOFError, OSError):  # it may be killed while it tells
            while True:
                told.add(receiver.recv())
    return told


def _wait_until_nothing_is_due(storage: Storage) -> None:
    quiet = threading.Event()
    for _ in range(int(PATIENCE / 0.05)):
        if not storage.list_due(float("1e12")):
            return
        quiet.wait(0.05)
    pytest.fail(f"still waiting: {storage.list_due(float('1e12'))}")


def _check(storage: Storage, told: Told) -> None:
    kept: list[tuple[str, int]] = []
    for key in map(str, range(RECEIVERS)):
        archive = thaw(storage, Archive, key)
        last: dict[str, int] = {}
        for entry in archive.thread.entries() if archive is not None else ():
            sender, number = entry.payload
            assert number > last.get(sender, -1), f"{sender} {number} twice or out of order"
            last[sender] = number
            kept.append((sender, number))
        assert archive is None or archive.last == last
    assert told <= set(kept), f"lost: {told - set(kept)}"
    for n in range(SENDERS):
        clerk = thaw(storage, Clerk, f"clerk {n}")
        committed = clerk.sent if clerk is not None else 0
        assert sorted(number for who, number in kept if who == f"clerk {n}") == [*range(committed)]


def send_until_killed(url: str, name: str, reports: Connection) -> None:
    """Send from agents and from outside, for ever; report what was acknowledged."""
    one_at_a_time = threading.Lock()

    def report(sender: str, number: int) -> None:
        with one_at_a_time:
            reports.send((sender, number))

    def from_agent(key: str) -> None:
        while True:
            report(key, runtime.get(Clerk, key).ask(Clerk.send_one))

    def from_outside() -> None:
        number = 0
        while True:
            runtime.get(Archive, str(number % RECEIVERS)).send(Archive.keep, name, number)
            report(name, number)
            number += 1

    with Runtime(url, agents=[Clerk, Archive], idle_timeout=0.01, wake_interval=0.1) as runtime:
        threads = [
            threading.Thread(target=from_agent, args=(f"clerk {n}",)) for n in range(SENDERS)
        ]
        threads.append(threading.Thread(target=from_outside))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
