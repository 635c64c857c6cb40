"""What is retried, how often, and what comes out when nothing helps."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor.storage import errors
from torpor.storage.errors import (
    ConflictError,
    CorruptRecordError,
    StorageClosedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff, retrying

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that moves only when the thread that made it waits; others have the real one."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self._owner = threading.get_ident()
        self._real = time.monotonic, time.sleep

    def monotonic(self) -> float:
        """Return the time."""
        real, _ = self._real
        return self.now if threading.get_ident() == self._owner else real()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        _, real = self._real
        if threading.get_ident() != self._owner:
            real(seconds)
            return
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock by which the retryer goes."""
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock.monotonic)
    monkeypatch.setattr("time.sleep", clock.sleep)
    return clock


class Flaky:
    """Fails some times, then returns "done"."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        """Fail if it is time to."""
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


@pytest.mark.parametrize("error", [StorageUnavailableError("locked"), StorageFullError("full")])
def test_transient_errors_are_retried(clock: Clock, error: StorageError) -> None:
    """What may pass by itself is tried again until it works."""
    flaky = Flaky(error, error, error)

    assert retrying()(flaky) == "done"

    assert flaky.calls == 4
    assert len(clock.waits) == 3


@pytest.mark.parametrize(
    "error",
    [
        StorageError("broken"),
        ConflictError("agent", expected=1, found=2),
        CorruptRecordError("agent", "torn"),
        StorageClosedError("closed"),
        ValueError("a bug"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_are_raised_at_once(clock: Clock, error: BaseException) -> None:
    """What another try can't change is raised as it is."""
    flaky = Flaky(error)

    with pytest.raises(type(error)) as caught:
        retrying()(flaky)

    assert caught.value is error
    assert flaky.calls == 1
    assert clock.waits == []


@pytest.mark.parametrize(
    ("retry", "seconds"),
    [(lambda: retrying(), MAX_RETRY_SECONDS), (lambda: retrying(2.0), 2.0)],  # noqa: PLW0108
    ids=["by default", "as asked for"],
)
def test_it_gives_up_in_time(
    clock: Clock, retry: Callable[[], Callable[[Callable[[], str]], str]], seconds: float
) -> None:
    """After so many seconds the last error itself is raised, never a wrapper."""
    failures = [StorageUnavailableError(str(number)) for number in range(10_000)]
    flaky = Flaky(*failures)

    with pytest.raises(StorageUnavailableError) as caught:
        retry()(flaky)

    assert caught.value is failures[flaky.calls - 1]
    assert seconds <= clock.now <= seconds + 0.25


@given(attempt=st.integers(1, 60))
def test_backoff_doubles_up_to_a_quarter_second(attempt: int) -> None:
    """The n-th wait is anything from 0 to 1 ms times 2 to the n - 1, and never over 250 ms."""
    waits = [backoff(attempt) for _ in range(50)]

    ceiling = min(0.25, 0.001 * 2 ** (attempt - 1))
    assert min(waits) >= 0
    assert ceiling / 2 < max(waits) <= ceiling


def test_backoff_is_jittered() -> None:
    """Those who failed together do not come back together."""
    assert len({backoff(10) for _ in range(20)}) > 10


def test_backoff_never_overflows() -> None:
    """A wait after very many failures is as bounded as any."""
    assert 0 <= backoff(100_000) <= 0.25


def test_only_one_kind_of_error_is_transient() -> None:
    """Which errors are retried can be seen from their place in the tree."""
    transient = {
        name
        for name in errors.__all__
        if isinstance(kind := getattr(errors, name), type)
        and issubclass(kind, StorageUnavailableError)
    }

    assert transient == {"StorageUnavailableError", "StorageFullError"}
