"""What is retried and how often; the one policy of storages and runtime.

Only errors that say "not now" (``StorageUnavailableError``) are retried: from 1 ms doubling to
250 ms with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015), for
30 s at most.
"""

from __future__ import annotations

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from torpor.storage.errors import StorageUnavailableError

__all__ = ["MAX_RETRY_SECONDS", "backoff", "retrying"]

MAX_RETRY_SECONDS = 30.0

_WAIT = wait_random_exponential(multiplier=0.001, max=0.25)
_TRANSIENT = retry_if_exception_type(StorageUnavailableError)


def retrying(seconds: float = MAX_RETRY_SECONDS) -> Retrying:
    """Return a retryer of transient storage errors that gives up after ``seconds``.

    The last error itself is re-raised, never tenacity's wrapper.
    """
    return Retrying(wait=_WAIT, stop=stop_after_delay(seconds), retry=_TRANSIENT, reraise=True)


def backoff(attempt: int) -> float:
    """Return the seconds to wait after the ``attempt``-th failure (from 1), jitter included."""
    state = RetryCallState(retrying(), None, (), {})
    state.attempt_number = attempt
    return _WAIT(state)
