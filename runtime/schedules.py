"""What an agent has planned: when it is due, and what becomes of what was missed.

Times are seconds since the epoch on the wall clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from torpor.cron import next_cron
from torpor.outbox import LONGEST_RETRY, TRANSIENT, describe, retry_in

__all__ = ["MAX_ATTEMPTS", "Misfire", "Plan", "Schedule", "Tick"]

Misfire = Literal["skip", "once", "all"]

MAX_ATTEMPTS = 10
"""How often one tick of a failing job is tried: for 9 minutes."""

GRACE = 60.0
"""Seconds within which a tick is late, and not missed."""

UNCOMPUTABLE_RETRY = 60.0
_MOST_COUNTED = 1000
_MOST_MISSED = 2.0**53  # of an interval that is next to nothing; beyond it numbers have gaps


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One time at which a schedule was due. ``id`` is the same however often it is tried.

    ``missed`` counts the earlier ticks that this one stands for, ``attempt`` from 1 those that
    failed for a reason of their own.
    """

    id: str
    schedule: str
    due_at: float
    missed: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A call that an agent has planned: once, every so many seconds, or by ``cron`` in ``tz``.

    ``next_at`` is its next tick; after a failure that is tried again at ``retry_at``, and
    ``error`` says what happened. ``arguments`` are the call's, as JSON data.
    """

    id: str
    method: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    next_at: float
    every: float | None = None
    cron: str | None = None
    tz: str | None = None
    misfire: Misfire = "once"
    failures: int = 0
    retry_at: float | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for an interval in which time does not pass."""
        if self.every is not None and not self.every > 0:
            msg = f"every is more than 0 seconds, not {self.every!r}"
            raise ValueError(msg)

    @property
    def due_at(self) -> float:
        """When it is to be looked at."""
        return self.next_at if self.retry_at is None else self.retry_at

    @property
    def recurring(self) -> bool:
        """Whether it has more than one tick."""
        return self.every is not None or self.cron is not None

    @property
    def tick_id(self) -> str:
        """What tells its next tick from every other; a tick that is tried again keeps it."""
        try:
            moment = datetime.fromtimestamp(self.next_at, UTC).isoformat()
        except (ValueError, OverflowError, OSError):  # before the first year, or behind the last
            moment = repr(self.next_at)
        return f"{self.id}@{moment}"

    def following(self, tick: float) -> float:
        """Return the tick after ``tick`` of a recurring schedule; ``ScheduleError``."""
        if self.every is not None:
            return tick + self.every
        assert self.cron is not None
        return next_cron(self.cron, self.tz, tick)

    def plan(self, now: float) -> Plan:
        """Return what is to be done ``now``, when it is due; ``ScheduleError`` (time zones)."""
        missed, following = self._look_ahead(now)
        skipped = self.misfire == "skip" and self.retry_at is None and now - self.next_at > GRACE
        after = None
        if following is not None:
            after = replace(self, next_at=following, failures=0, retry_at=None, error=None)
        tick = Tick(
            id=self.tick_id,
            schedule=self.id,
            due_at=self.next_at,
            missed=0 if skipped else missed,
            attempt=self.failures + 1,
        )
        return Plan(None if skipped else tick, after, missed + 1 if skipped else missed)

    def _look_ahead(self, now: float) -> tuple[int, float | None]:
        """Return how many more ticks have passed, and the first that is left for later."""
        if not self.recurring:
            return 0, None
        if self.every is not None and self.misfire != "all":
            missed = int(min(max((now - self.next_at) // self.every, 0), _MOST_MISSED))
            return missed, self.next_at + (missed + 1) * self.every
        following = self.following(self.next_at)
        if self.misfire == "all" or following > now:
            return 0, following
        missed, tick = 0, following
        while tick <= now and missed < _MOST_COUNTED:
            missed, tick = missed + 1, self.following(tick)
        return missed, tick if tick > now else self.following(now)

    def failed(self, error: BaseException, now: float) -> Schedule | None:
        """Return it as it is after a tick failed; None if it was a one-shot's last attempt.

        Errors of ``TRANSIENT`` count for nothing: a process that stops cancels what it runs.
        """
        failures = self.failures + 1
        if isinstance(error, TRANSIENT):
            failures, wait = self.failures, max((now - self.next_at) / 10, retry_in(1))
        else:
            wait = retry_in(failures)
        if failures < MAX_ATTEMPTS:
            retry_at = now + min(wait, LONGEST_RETRY)
            return replace(self, failures=failures, retry_at=retry_at, error=describe(error))
        if not self.recurring:
            return None
        following = self.plan(now).after
        return following and replace(following, error=describe(error))

    def put_off(self, error: BaseException, now: float) -> Schedule:
        """Return it as it is while nobody can say when it is due: it is asked again later."""
        return replace(self, retry_at=now + UNCOMPUTABLE_RETRY, error=describe(error))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a due schedule comes to: the tick to run now, if any, and what is left of it.

    ``missed`` counts the ticks that nobody runs by themselves.
    """

    tick: Tick | None
    after: Schedule | None
    missed: int
