"""The ways in which ``FaultyStorage`` lets an operation go wrong."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal, Self, TypeVar, get_args

from torpor.storage.errors import StorageClosedError, StorageUnavailableError
from torpor.storage.records import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from types import TracebackType

    from torpor.storage.records import Change, Outcome

__all__ = [
    "Conflicts",
    "Dice",
    "ErrorSource",
    "Fail",
    "Fault",
    "FaultKind",
    "Hang",
    "Operation",
    "Slow",
    "Torn",
]

T = TypeVar("T")

Operation = Literal[
    "commit",
    "inspect",
    "list",
    "list_due",
    "list_keys",
    "list_thread_ids",
    "read",
    "read_entries",
    "read_entry_ids",
    "vacuum",
]
"""A primitive of a backend: all writes are a "commit", get and head are a "read"."""

FaultKind = Literal["conflict", "fail", "fail_after", "slow", "torn"]
"""A fault that can be drawn at random."""

ErrorSource = BaseException | type[BaseException] | None
"""An error, a class of errors that take a message, or None for ``StorageUnavailableError``."""


class Fault:
    """What happens to one call of an operation. This one lets it pass unharmed."""

    commit_only = False

    def around(self, act: Callable[[], T]) -> T:
        """Carry out ``act``, or misbehave."""
        return act()

    def around_commit(
        self, changes: Sequence[Change], commit: Callable[[Sequence[Change]], Sequence[Outcome]]
    ) -> Sequence[Outcome]:
        """Commit ``changes``, or misbehave."""
        return self.around(lambda: commit(changes))


@dataclass(frozen=True)
class Fail(Fault):
    """Raise ``error``: instead of the operation, or with ``after`` once it has been done."""

    error: ErrorSource = None
    after: bool = False

    def around(self, act: Callable[[], T]) -> T:
        """Raise the error before or after ``act``."""
        if self.after:
            act()
        raise _make_error(self.error, "after" if self.after else "before")


@dataclass(frozen=True)
class Slow(Fault):
    """Call ``delay`` with ``seconds`` first."""

    seconds: float
    delay: Callable[[float], None] = time.sleep

    def around(self, act: Callable[[], T]) -> T:
        """Carry out ``act`` after the delay."""
        self.delay(self.seconds)
        return act()


class Hang(Fault):
    """Do nothing until ``release()``, then the operation; with ``after`` the other way round.

    As a context manager it is released at the end of the block, also if a test fails there.
    """

    def __init__(self, *, after: bool = False) -> None:
        self.entered = threading.Event()
        """Set once the operation has arrived (with ``after``: once it has been done)."""
        self._after = after
        self._released = threading.Event()
        self._abandoned = False

    def release(self) -> None:
        """Let the operation go on. It may be called before the operation has arrived."""
        self._released.set()

    def abandon(self) -> None:
        """Let the operation end with ``StorageClosedError``."""
        self._abandoned = True
        self._released.set()

    def around(self, act: Callable[[], T]) -> T:
        """Wait for the release before or after ``act``."""
        if self._after:
            result = act()
            self._wait()
            return result
        self._wait()
        return act()

    def _wait(self) -> None:
        self.entered.set()
        self._released.wait()
        if self._abandoned:
            msg = "closed while the operation hung"
            raise StorageClosedError(msg)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


@dataclass(frozen=True)
class Torn(Fault):
    """Apply only the first ``applied`` changes of the batch, then raise ``error``."""

    applied: int
    error: ErrorSource = None
    commit_only = True

    def around_commit(
        self, changes: Sequence[Change], commit: Callable[[Sequence[Change]], Sequence[Outcome]]
    ) -> Sequence[Outcome]:
        """Commit the first changes and raise."""
        if first := changes[: self.applied]:
            commit(first)
        raise _make_error(self.error, f"after {len(first)} of {len(changes)} changes of")


@dataclass(frozen=True)
class Conflicts(Fault):
    """Answer ``Conflict`` as if another writer had come first; commit the rest of the batch.

    Only changes that compare revisions can conflict, and with ``keys`` only those. Nothing is
    written for them, so whoever reads again and retries succeeds.
    """

    keys: Collection[str] | None = None
    commit_only = True

    def around_commit(
        self, changes: Sequence[Change], commit: Callable[[Sequence[Change]], Sequence[Outcome]]
    ) -> Sequence[Outcome]:
        """Commit what does not conflict."""
        others = [change for change in changes if self._conflict(change) is None]
        outcomes = iter(commit(others) if others else ())
        return [self._conflict(change) or next(outcomes) for change in changes]

    def _conflict(self, change: Change) -> Conflict | None:
        expected = change.expected_rev
        if expected is None or (self.keys is not None and change.key not in self.keys):
            return None
        return Conflict(change.key, expected, expected + 1)


class Dice:
    """Draws faults at given rates, for each operation from a sequence of its own."""

    def __init__(self, seed: int | str, rates: Mapping[FaultKind, float], slow: Slow) -> None:
        rest = round(1 - sum(rates.values()), ndigits=9)
        if min(rates.values(), default=0) < 0 or rest < 0:
            msg = f"rates are at least 0 and add up to at most 1, not {dict(rates)}"
            raise ValueError(msg)
        self._kinds: list[FaultKind | None] = [*rates, None]
        self._weights = [*rates.values(), rest]
        self._slow = slow
        self._randoms = {
            operation: Random(f"{seed}/{operation}")  # noqa: S311 - repeatable, not secret
            for operation in get_args(Operation)
        }

    def roll(self, operation: Operation) -> Fault:
        """Return the fault of the next call of ``operation``."""
        random = self._randoms[operation]
        [kind] = random.choices(self._kinds, self._weights)
        faults: dict[FaultKind | None, Fault] = {
            "conflict": Conflicts(),
            "fail": Fail(),
            "fail_after": Fail(after=True),
            "slow": self._slow,
            "torn": Torn(random.randrange(8)),
            None: Fault(),
        }
        fault = faults[kind]
        return Fault() if fault.commit_only and operation != "commit" else fault


def _make_error(error: ErrorSource, when: str) -> BaseException:
    if isinstance(error, BaseException):
        return error
    return (error or StorageUnavailableError)(f"made to fail {when} the operation")
