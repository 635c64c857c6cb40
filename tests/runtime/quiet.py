"""A clock for tests that let hours pass, on storages that take their time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.runtime.kit import ObservedClock, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor import Runtime

__all__ = ["QuietClock"]


class QuietClock(ObservedClock):
    """Moves on only when the runtimes that it watches have done what there was to do by then.

    A storage that is at work while an hour passes has not answered for an hour: the runtime
    gives it up, and tries again after a while that, as time stands still, never comes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._watched: list[_Activity] = []

    def watch(self, runtime: Runtime) -> None:
        """Wait for ``runtime`` from now on; to be called before it has anything to do."""
        self._watched.append(_Activity(runtime))

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, once nothing is under way."""
        eventually(lambda: not any(activity.goes_on for activity in self._watched))
        super().advance(seconds)


class _Activity:
    """What a runtime does now: jobs of its workers, alarms of its timer, batches, turns."""

    def __init__(self, runtime: Runtime) -> None:
        manager = runtime.manager
        self._runtime = runtime
        self._lock = threading.Lock()
        self._jobs = 0
        self._alarms: list[float] = []
        self._begun = 0
        self._schedule, self._at = manager.pool.schedule, manager.timer.at
        manager.pool.schedule = self._note_job  # type: ignore[method-assign]
        manager.timer.at = self._note_alarm  # type: ignore[method-assign]

    @property
    def goes_on(self) -> bool:
        """Whether anything is to be done before time passes."""
        manager = self._runtime.manager
        if manager.stopping:
            return False
        begun = self._begun
        running = any(activation.turn is not None for activation in list(manager.table.values()))
        if running or manager.commits.busy or manager.loads.busy:
            return True
        with self._lock:
            due = any(when <= manager.clock.monotonic() for when in self._alarms)
            return due or self._jobs > 0 or self._begun != begun

    def _note_job(self, job: Callable[[], None]) -> None:
        def noted() -> None:
            try:
                job()
            finally:
                with self._lock:
                    self._jobs -= 1

        with self._lock:
            self._jobs += 1
            self._begun += 1
        self._schedule(noted)

    def _note_alarm(self, when: float, run: Callable[[], None]) -> None:
        def noted() -> None:
            try:
                run()
            finally:
                with self._lock:
                    self._alarms.remove(when)

        with self._lock:
            self._alarms.append(when)
            self._begun += 1
        self._at(when, noted)
