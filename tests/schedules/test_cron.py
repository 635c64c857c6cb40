"""When a cron expression is due: expressions, aliases, time zones, clock changes."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from torpor import ScheduleError
from torpor.cron import next_cron, zone_of


def ticks(expression: str, tz: str | None, begin: str, count: int) -> list[str]:
    """Return the first ticks after a local time, as local times with their offset."""
    zone = ZoneInfo(tz or "UTC")
    now = dt.datetime.fromisoformat(begin).replace(tzinfo=zone).timestamp()
    found: list[str] = []
    for _ in range(count):
        now = next_cron(expression, tz, now)
        found.append(dt.datetime.fromtimestamp(now, zone).isoformat())
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/15 * * * *", ["2026-11-21T12:15:00+00:00", "2026-11-21T12:30:00+00:00"]),
        ("0 9 * * MON-FRI", ["2026-11-23T09:00:00+00:00", "2026-11-24T09:00:00+00:00"]),
        ("0 0 L * *", ["2026-11-30T00:00:00+00:00", "2026-12-31T00:00:00+00:00"]),
        ("*/20 * * * * *", ["2026-11-21T12:00:20+00:00", "2026-11-21T12:00:40+00:00"]),
        ("* * * * * * *", ["2026-11-21T12:00:01+00:00", "2026-11-21T12:00:02+00:00"]),
        ("@hourly", ["2026-11-21T13:00:00+00:00", "2026-11-21T14:00:00+00:00"]),
        ("@daily", ["2026-11-22T00:00:00+00:00", "2026-11-23T00:00:00+00:00"]),
        ("@midnight", ["2026-11-22T00:00:00+00:00", "2026-11-23T00:00:00+00:00"]),
        ("@weekly", ["2026-11-22T00:00:00+00:00", "2026-11-29T00:00:00+00:00"]),
        ("@monthly", ["2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"]),
        ("@yearly", ["2027-01-01T00:00:00+00:00", "2028-01-01T00:00:00+00:00"]),
        ("@annually", ["2027-01-01T00:00:00+00:00", "2028-01-01T00:00:00+00:00"]),
    ],
)
def test_expressions(expression: str, expected: list[str]) -> None:
    """Five fields, six with seconds, seven with any year, and the aliases (CR-3)."""
    assert ticks(expression, None, "2026-11-21T12:00:00", 2) == expected


@pytest.mark.parametrize("tz", [None, "", "UTC", "Etc/UTC"])
def test_the_default_zone_is_utc(tz: str | None) -> None:
    """No zone, or an empty name, means UTC (CR-2)."""
    assert next_cron("0 12 * * *", tz, 0) == 12 * 3600


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "61 * * * *", "whenever", "0 0 30 2 *", "* * * * * * 2030", "@reboot"],
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    """A wrong expression, or one that never comes true, is one typed error (CR-4)."""
    with pytest.raises(ScheduleError, match="cron expression"):
        next_cron(expression, None, 0)


@pytest.mark.parametrize("expression", [None, 5, ["* * * * *"]])
def test_what_is_no_text_is_refused(expression: object) -> None:
    """So is what is not even text (CR-4)."""
    with pytest.raises(ScheduleError, match="text"):
        next_cron(expression, None, 0)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("tz", ["Mars/Olympus", "../etc/passwd", "Europe", 7])
def test_what_is_no_zone_is_refused(tz: object) -> None:
    """A zone that is unknown, or no text, is one typed error (CR-4)."""
    with pytest.raises(ScheduleError, match="time zone"):
        zone_of(tz)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_time_that_does_not_exist_is_skipped() -> None:
    """02:30 on the day the clock goes forward is left out, not moved (CR-17)."""
    assert ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T02:00:00", 3) == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-30T02:30:00+02:00",
        "2026-03-31T02:30:00+02:00",
    ]


def test_a_time_that_comes_twice_counts_the_second_time() -> None:
    """02:30 on the day the clock goes back is the later one, once (CR-17)."""
    assert ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T02:30:00", 2) == [
        "2026-10-25T02:30:00+01:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_a_second_time_is_not_passed_over_from_within_the_first_hour() -> None:
    """At 02:40, the first time, the 02:30 that counts is yet to come (CR-17)."""
    assert ticks("30 2 * * *", "Europe/Berlin", "2026-10-25T02:40:00", 1) == [
        "2026-10-25T02:30:00+01:00"
    ]


def test_every_minute_is_every_minute() -> None:
    """With ``*`` as its hour a job makes no pause of an hour when the clock goes back."""
    assert ticks("*/30 * * * *", "Europe/Berlin", "2026-10-25T02:00:00", 4) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_half_hour_changes() -> None:
    """Lord Howe Island changes by half an hour: 02:15 is left out, 01:45 comes twice (CR-17)."""
    assert ticks("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00", 1) == [
        "2026-10-05T02:15:00+11:00"
    ]
    assert ticks("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00", 2) == [
        "2026-04-05T01:45:00+10:30",
        "2026-04-06T01:45:00+10:30",
    ]
