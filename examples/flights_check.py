"""The totals of every aircraft, computed straight from the file with csv and dictionaries.

Independent on purpose: it shares no code with the agents or their reader, so that a mistake in
one of the two ways to count shows up as a difference.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Totals", "totals_from_file"]

NEEDED = ("tailnum", "carrier", "dest", "dep_delay", "arr_delay", "air_time", "distance")


class Totals(TypedDict):
    """What one aircraft did: minutes late and in the air, miles flown, where it was last.

    ``journal`` is the number of entries in its journal: one for each cancelled flight.
    """

    carrier: str
    airport: str
    flights: int
    cancelled: int
    landed: int
    departure_delay: int
    arrival_delay: int
    air_time: int
    distance: int
    journal: int


def totals_from_file(path: Path, first: int) -> dict[str, Totals]:
    """Return tail number -> totals over the ``first`` flights in order of scheduled departure."""
    flights: list[tuple[str, tuple[str, ...]]] = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            day = f"{row['year']}-{row['month'].zfill(2)}-{row['day'].zfill(2)}"
            when = f"{day} {row['sched_dep_time'].zfill(4)}"
            flights.append((when, tuple(row[name] for name in NEEDED)))
    flights.sort(key=lambda flight: flight[0])

    fleet: dict[str, Totals] = {}
    for _, (tail, carrier, dest, dep_delay, arr_delay, air_time, distance) in flights[:first]:
        name = "unknown" if tail in {"NA", ""} else tail
        if name not in fleet:
            fleet[name] = Totals(
                carrier="",
                airport="",
                flights=0,
                cancelled=0,
                landed=0,
                departure_delay=0,
                arrival_delay=0,
                air_time=0,
                distance=0,
                journal=0,
            )
        totals = fleet[name]
        totals["flights"] += 1
        totals["carrier"] = carrier
        if dep_delay in {"NA", ""}:
            totals["cancelled"] += 1
            totals["journal"] += 1
            continue
        totals["departure_delay"] += int(dep_delay)
        totals["distance"] += int(distance)
        totals["airport"] = dest
        if arr_delay not in {"NA", ""}:
            totals["landed"] += 1
            totals["arrival_delay"] += int(arr_delay)
            totals["air_time"] += int(air_time)
    return fleet
