"""One chaos run: a seed, a place, workers, and what is done to them."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tests.chaos.verdict import judge
from tests.chaos.worker import STORAGE_TIMEOUT, TIMEOUT
from tests.chaos.workers import Told, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.base import PrivateServer

__all__ = ["Place", "Totals", "run"]

WORKERS = 3
LONGER_THAN_ANY_TIMEOUT = TIMEOUT + STORAGE_TIMEOUT + 0.5


@dataclass
class Totals:
    """What came together in one run or several."""

    acknowledged: int = 0
    kept: int = 0
    deeds: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])

    def __iadd__(self, other: Totals) -> Self:
        """Add another run's."""
        self.acknowledged += other.acknowledged
        self.kept += other.kept
        self.deeds += other.deeds
        self.errors += other.errors
        return self


@dataclass
class Place:
    """Where the agents hibernate to: a file, or a server that may be stopped."""

    url: str
    file: Path | None = None
    server: PrivateServer | None = None

    def close(self) -> None:
        """Give up the server, if it has one."""
        if self.server is not None:
            self.server.close()


def run(seed: int, place: Place, *, deeds: int) -> Totals:
    """Let workers write while ``deeds`` things are done to them; judge what they leave."""
    told = Told()
    with ExitStack() as leaving:
        chaos = _Chaos(seed, place, told, leaving)
        for _ in range(deeds):
            told.wait_for(chaos.chance.randrange(1, 200))
            chaos.do_something()
        told.wait_for(100)
        chaos.finish()
    assert not told.broken, "\n".join(told.broken)
    kept = judge(place.url, told)
    return Totals(len(told.acknowledged), kept, chaos.deeds, told.errors)


class _Chaos:
    def __init__(self, seed: int, place: Place, told: Told, leaving: ExitStack) -> None:
        self.chance = random.Random(seed)
        self.deeds: Counter[str] = Counter()
        self._seed = seed
        self._place = place
        self._told = told
        self._leaving = leaving
        self._lives = 0
        self._workers = [self._live() for _ in range(WORKERS)]

    def do_something(self) -> None:
        """Do one thing to one worker, or to the server of all."""
        choices: list[Callable[[], None]] = [self._kill, self._kill, self._make_a_zombie]
        if self._place.file is not None:
            choices.append(self._fill_disk)
        if self._place.server is not None:
            choices += [self._restart_server, self._crash_server_while_it_recovers]
        deed = self.chance.choice(choices)
        self.deeds[deed.__name__.strip("_").replace("_", " ")] += 1
        deed()

    def finish(self) -> None:
        """Have all stop in good order."""
        for worker in self._workers:
            worker.finish()

    def _live(self) -> Worker:
        self._lives += 1
        worker = Worker(self._place.url, f"{self._seed}-{self._lives}", self._told)
        self._leaving.callback(worker.close)
        return worker

    def _kill(self) -> None:
        index = self.chance.randrange(WORKERS)
        self._workers[index].kill()
        self._workers[index] = self._live()

    def _make_a_zombie(self) -> None:
        worker = self.chance.choice(self._workers)
        worker.pause()
        time.sleep(LONGER_THAN_ANY_TIMEOUT)
        worker.go_on()

    def _fill_disk(self) -> None:
        assert self._place.file is not None
        worker = self.chance.choice(self._workers)
        log = self._place.file.with_name(f"{self._place.file.name}-wal")
        worker.fill_disk(log.stat().st_size if log.exists() else 0)
        time.sleep(self.chance.uniform(0.1, 1))
        worker.free_disk()

    def _restart_server(self) -> None:
        assert self._place.server is not None
        self._place.server.stop(self.chance.choice(list(self._place.server.stops)))
        time.sleep(self.chance.uniform(0, LONGER_THAN_ANY_TIMEOUT))
        self._place.server.start()

    def _crash_server_while_it_recovers(self) -> None:
        assert self._place.server is not None
        self._place.server.stop("crash")
        for _ in range(2):
            self._place.server.launch()
            time.sleep(self.chance.uniform(0, 0.3))
            self._place.server.stop("crash")
        self._place.server.start()
