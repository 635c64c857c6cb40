"""Storms: a stretch of calls to a storage of which many fail, each in a way that the seed says."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, TypeVar

from torpor.storage.errors import StorageUnavailableError
from torpor.storage.faults import Conflicts, Fail, Fault, Hang, Slow, Torn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.storage.faulty import FaultyStorage, Operation
    from torpor.storage.records import Change, Outcome

__all__ = ["brew"]

T = TypeVar("T")

CALLS = 40
"""How many calls of each operation a storm lasts."""
_OPERATIONS: tuple[Operation, ...] = ("commit", "read", "read_entry_ids", "list_due")
_WEIGHTS = {
    "none": 60.0,
    "fail before": 8.0,
    "fail after": 8.0,
    "slow": 8.0,
    "torn": 6.0,
    "conflict": 6.0,
    "disconnect": 2.0,
    "hang before": 0.4,
    "hang after": 0.4,
}


def brew(faulty: FaultyStorage, seed: str, *, hang: float, note: Callable[[str], None]) -> None:
    """Have the next calls of ``faulty`` meet faults; ``note`` gets the kind of each that does.

    What hangs goes on after ``hang`` seconds.
    """
    chance = random.Random(seed)
    for operation in _OPERATIONS:
        for kind in chance.choices([*_WEIGHTS], [*_WEIGHTS.values()], k=CALLS):
            fault = _fault(kind, chance, faulty, hang)
            spared = kind == "none" or (fault.commit_only and operation != "commit")
            faulty.next(operation, Fault() if spared else _Noted(fault, kind, note))


def _fault(kind: str, chance: random.Random, faulty: FaultyStorage, hang: float) -> Fault:
    size = chance.randrange(1, 20)
    match kind:
        case "fail before" | "fail after":
            return Fail(after=kind == "fail after")
        case "slow":
            return Slow(size / 100)
        case "torn":
            return Torn(size % 4)
        case "conflict":
            return Conflicts()
        case "disconnect":
            return _Disconnect(faulty, size)
        case _:
            return _HangFor(hang, after=kind == "hang after")


class _HangFor(Hang):
    def __init__(self, seconds: float, *, after: bool) -> None:
        super().__init__(after=after)
        self._seconds = seconds

    def around(self, act: Callable[[], T]) -> T:
        release = threading.Timer(self._seconds, self.release)
        release.daemon = True
        release.start()
        return super().around(act)


class _Disconnect(Fault):
    def __init__(self, faulty: FaultyStorage, calls: int) -> None:
        self._faulty = faulty
        self._calls = calls

    def around(self, act: Callable[[], T]) -> T:
        del act
        self._faulty.disconnect(self._calls)
        msg = "the connection was lost"
        raise StorageUnavailableError(msg)


class _Noted(Fault):
    """Another fault, of which somebody hears when it strikes."""

    def __init__(self, fault: Fault, kind: str, note: Callable[[str], None]) -> None:
        self.commit_only = fault.commit_only
        self._fault = fault
        self._kind = kind
        self._note = note

    def around(self, act: Callable[[], T]) -> T:
        self._note(self._kind)
        return self._fault.around(act)

    def around_commit(
        self, changes: Sequence[Change], commit: Callable[[Sequence[Change]], Sequence[Outcome]]
    ) -> Sequence[Outcome]:
        self._note(self._kind)
        return self._fault.around_commit(changes, commit)
