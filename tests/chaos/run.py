"""One chaos run: a seed, a place, lives, and what is done to them."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.chaos.life import LONGER_THAN_ANY_TIMEOUT
from tests.chaos.told import Told
from tests.chaos.totals import Totals
from tests.chaos.verdict import judge
from tests.chaos.workers import ProcessWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.places import Place
    from tests.chaos.workers import Worker

__all__ = ["run"]

WORKERS = 3
STEPS = (1.0, 60.0, 3600.0, 86400.0)


def run(seed: int, place: Place, *, deeds: int) -> Totals:
    """Let workers write while ``deeds`` things are done to them; judge what they leave."""
    told = Told()
    with ExitStack() as leaving:
        chaos = _Chaos(seed, place, told, leaving)
        for _ in range(deeds):
            told.wait_for(chaos.chance.randrange(1, place.pace))
            chaos.do_something()
        told.wait_for(100)
        chaos.finish()
    assert not told.broken, "\n".join(told.broken)
    with place.opened() as storage:
        kept = judge(storage, told)
    return Totals(1, len(told.acknowledged), kept, chaos.deeds, told.faults, told.errors)


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
        self._deck: list[Callable[[], None]] = []

    def do_something(self) -> None:
        """Do one thing to one worker, to all, or to their server."""
        if not self._deck:
            self._deck = self._all_deeds()
            self.chance.shuffle(self._deck)
        deed = self._deck.pop()
        self.deeds[deed.__name__.strip("_").replace("_", " ")] += 1
        deed()

    def finish(self) -> None:
        """Have all stop in good order."""
        for worker in self._workers:
            worker.finish()

    def _all_deeds(self) -> list[Callable[[], None]]:
        """Return what can be done here, the more often the likelier."""
        deeds = [self._storm, self._storm, self._step_clock]
        if self._processes():
            deeds += [self._kill, self._kill, self._freeze]
        if self._place.disk:
            deeds += [self._fill_disk]
        if self._place.server is not None:
            deeds += [self._restart_server, self._freeze_server]
            deeds += [self._crash_server_while_it_recovers]
        return deeds

    def _processes(self) -> list[ProcessWorker]:
        return [worker for worker in self._workers if isinstance(worker, ProcessWorker)]

    def _live(self) -> Worker:
        self._lives += 1
        worker = self._place.start(f"{self._seed}-{self._lives}", self._told.take)
        self._leaving.callback(worker.close)
        return worker

    # -- to a worker --------------------------------------------------------------------------

    def _storm(self) -> None:
        self.chance.choice(self._workers).order(f"storm {self.chance.random()}")

    def _step_clock(self) -> None:
        seconds = self.chance.choice(STEPS) * self.chance.choice((1, -1))
        self.chance.choice(self._workers).order(f"clock {seconds}")

    def _kill(self) -> None:
        worker = self.chance.choice(self._processes())
        worker.kill()
        self._workers[self._workers.index(worker)] = self._live()

    def _freeze(self) -> None:
        worker = self.chance.choice(self._processes())
        worker.freeze()
        time.sleep(LONGER_THAN_ANY_TIMEOUT)
        worker.go_on()

    # -- to what they share -------------------------------------------------------------------

    def _fill_disk(self) -> None:
        with self._place.full_disk(self.chance, self._processes()):
            time.sleep(self.chance.uniform(0.1, 1))

    def _restart_server(self) -> None:
        assert self._place.server is not None
        self._place.server.stop(self.chance.choice(list(self._place.server.stops)))
        time.sleep(self.chance.uniform(0, LONGER_THAN_ANY_TIMEOUT))
        self._place.server.start()

    def _freeze_server(self) -> None:
        assert self._place.server is not None
        self._place.server.freeze()
        time.sleep(LONGER_THAN_ANY_TIMEOUT)
        self._place.server.go_on()

    def _crash_server_while_it_recovers(self) -> None:
        assert self._place.server is not None
        self._place.server.stop("crash")
        for _ in range(2):
            self._place.server.launch()
            time.sleep(self.chance.uniform(0, 0.3))
            self._place.server.stop("crash")
        self._place.server.start()
