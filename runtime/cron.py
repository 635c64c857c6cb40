"""When a cron expression is due next, in its time zone.

A local time that does not exist is skipped; one that comes twice counts the second time. Only
with ``*`` as its hour a job follows the time that really passes, so that "every minute" runs in
the hour that a clock repeats as in any other.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from torpor.storage.errors import ScheduleError

__all__ = ["next_cron", "zone_of"]

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_WITH_SECONDS = 6
_WITH_YEAR = 7
_LONGEST_FOLD = timedelta(hours=3)


def zone_of(name: str | None) -> zoneinfo.ZoneInfo:
    """Return the time zone called ``name``, UTC if that is empty; ``ScheduleError``."""
    try:
        return zoneinfo.ZoneInfo(name or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
        msg = f"no time zone {name!r} is known here: {error}"
        raise ScheduleError(msg) from error


def next_cron(expression: str, tz: str | None, after: float) -> float:
    """Return when ``expression`` is due next, later than ``after``.

    Five fields; six with seconds in front; seven with a year, which must be ``*``, behind; or
    an alias such as ``@daily``. Raises ``ScheduleError`` if it is none of these, or never due.
    """
    fields = _fields(expression)
    zone = zone_of(tz)
    hour = fields[-4]
    try:
        begin = datetime.fromtimestamp(after, zone)
        if hour == "*":
            return next(CronSim(" ".join(fields), begin)).timestamp()
        # What comes earlier, or a second time, has to be seen too: it is filtered below.
        local = begin.replace(tzinfo=None) - _LONGEST_FOLD
        for candidate in CronSim(" ".join(fields), local):
            due = candidate.replace(tzinfo=zone, fold=1)
            exists = due.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == candidate
            if exists and due.timestamp() > after:
                return due.timestamp()
    except (CronSimError, StopIteration, OverflowError, OSError, ValueError) as error:
        raise _refusal(expression, error) from error
    raise _refusal(expression, None)


def _fields(expression: str) -> list[str]:
    if not isinstance(expression, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        msg = f"a cron expression is text, not {type(expression).__name__}"
        raise ScheduleError(msg)
    fields = _ALIASES.get(expression.strip().lower(), expression).split()
    if len(fields) == _WITH_YEAR and fields[-1] == "*":
        fields.pop()
    if len(fields) not in {_WITH_SECONDS - 1, _WITH_SECONDS}:
        raise _refusal(expression, None)
    return fields


def _refusal(expression: str, cause: BaseException | None) -> ScheduleError:
    detail = f": {cause}" if cause is not None and str(cause) else ""
    return ScheduleError(f"{expression!r} is no cron expression that is ever due{detail}")
