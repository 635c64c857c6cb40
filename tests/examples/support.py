"""What the tests of the examples share: small flight files, and the examples as processes."""

from __future__ import annotations

import csv
import os
import random
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import flights_data
from tests.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["flight_shown", "run_example", "start_example", "write_flights"]

# What would make an example take a pipe for a terminal, find a key, or write lines in pieces.
_REMOVED = (
    "FORCE_COLOR",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "COLUMNS",
    "OPENAI_API_KEY",
    "PYTHONUNBUFFERED",
)


def start_example(
    name: str,
    *arguments: str | Path,
    cwd: Path,
    stdio: int = subprocess.PIPE,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start an example on ``stdio``, errors included; ``env`` is laid over the environment."""
    kept = {key: value for key, value in os.environ.items() if key not in _REMOVED}
    return subprocess.Popen(
        [sys.executable, ROOT / "examples" / name, *arguments],
        cwd=cwd,
        env={**kept, "PYTHONIOENCODING": "utf-8", **(env or {})},
        stdin=stdio,
        stdout=stdio,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def run_example(
    name: str,
    *arguments: str | Path,
    cwd: Path,
    text: str = "",
    env: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run an example to its end on the input ``text``; return its exit code and output."""
    with start_example(name, *arguments, cwd=cwd, env=env) as process:
        output, _ = process.communicate(text)
    return process.returncode, output


def flight_shown(line: str) -> int | None:
    """Return how far the year has come by a line of progress, None for any other line."""
    match = re.search(r"· flight ([\d,]+) ·", line)
    return int(match[1].replace(",", "")) if match else None


def write_flights(path: Path, count: int, *, aircraft: int, seed: int = 1) -> Path:
    """Write ``count`` flights in the form of the real file, but not in order of time.

    One in ten is cancelled, one in twenty diverted, one in thirty has no tail number.
    """
    chance = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(flights_data.HEADER.split(","))
        writer.writerows(_row(chance, aircraft) for _ in range(count))
    return path


def _row(chance: random.Random, aircraft: int) -> list[object]:
    month, day = chance.randint(1, 12), chance.randint(1, 28)
    hour, minute = chance.randrange(24), chance.randrange(60)
    scheduled = hour * 100 + minute
    flown = chance.random() > 0.1
    arrived = flown and chance.random() > 0.05
    tail = f"N{chance.randrange(aircraft):05}" if chance.randrange(30) else "NA"
    return [
        2013,
        month,
        day,
        scheduled if flown else "NA",
        scheduled,
        chance.randint(-20, 300) if flown else "NA",
        scheduled if arrived else "NA",
        scheduled,
        chance.randint(-40, 300) if arrived else "NA",
        chance.choice(["AA", "B6", "UA"]),
        chance.randint(1, 9999),
        tail,
        chance.choice(["EWR", "JFK", "LGA"]),
        chance.choice(["IAH", "LAX", "MIA", "ORD"]),
        chance.randint(30, 400) if arrived else "NA",
        chance.randint(90, 3000),
        hour,
        minute,
        f"2013-{month:02}-{day:02}T{hour:02}:00:00Z",
    ]
