"""The parts of the flights demo: reading, what an aircraft does, counting, comparing."""

from __future__ import annotations

import ast
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import flights_check
from flights_agents import Aircraft, Player
from flights_data import HEADER, DataError, Flight, Flights
from flights_report import differences
from tests.examples.support import write_flights
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROW = "2013,{month},{day},517,{time},2,830,819,11,UA,1545,{tail},EWR,IAH,227,1400,5,15,x"
FLIGHT = Flight(
    tail="N1",
    leg=1,
    day="2013-01-01",
    carrier="UA",
    origin="EWR",
    destination="IAH",
    distance=1400,
    departure_delay=2,
    arrival_delay=11,
    air_time=227,
)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """A runtime in memory."""
    with Runtime("memory:") as runtime:
        yield runtime


def test_flights_come_in_order_of_time(tmp_path: Path) -> None:
    """Flights are sorted by day and scheduled departure, as numbers; legs count from 1."""
    csv = tmp_path / "flights.csv"
    places = [(10, 1, 5), (2, 1, 1530), (2, 1, 900), (1, 31, 2359), (1, 4, 2359)]
    rows = [ROW.format(month=m, day=d, time=t, tail="N1") for m, d, t in places]
    csv.write_text("\n".join([HEADER, *rows, ""]), "utf-8")

    flights = list(Flights(csv))

    days = ["2013-01-04", "2013-01-31", "2013-02-01", "2013-02-01", "2013-10-01"]
    assert [flight.day for flight in flights] == days
    assert [flight.leg for flight in flights] == [1, 2, 3, 4, 5]


def test_flights_without_a_tail_number_are_one_aircrafts(tmp_path: Path) -> None:
    """Whatever has no tail number is flown by ``unknown``."""
    csv = tmp_path / "flights.csv"
    rows = [ROW.format(month=1, day=1, time=5, tail=tail) for tail in ("NA", "N1", "")]
    csv.write_text("\n".join([HEADER, *rows, ""]), "utf-8")

    assert [(f.tail, f.leg) for f in Flights(csv)] == [("unknown", 1), ("N1", 1), ("unknown", 2)]


@pytest.mark.parametrize("row", ["2013,1", "2013,1,1,x,y,2", ROW.replace("1400", "far")])
def test_a_damaged_line_is_an_error(tmp_path: Path, row: str) -> None:
    """A line that is cut off, or has no number where one belongs, is never skipped silently."""
    csv = tmp_path / "flights.csv"
    csv.write_text(f"{HEADER}\n{row.format(month=1, day=1, time=5, tail='N1')}\n", "utf-8")

    with pytest.raises(DataError, match="damaged"):
        list(Flights(csv))


def test_a_flight_taken_again_changes_nothing(runtime: Runtime) -> None:
    """Replaying flights that an aircraft has taken leaves its totals and journal as they are."""
    aircraft = runtime.get(Aircraft, "N1")
    cancelled = replace(FLIGHT, leg=2, departure_delay=None, arrival_delay=None, air_time=None)
    for flight in (FLIGHT, cancelled):
        aircraft.ask(Aircraft.fly, flight)
    before = aircraft.ask(Aircraft.totals)

    for flight in (FLIGHT, cancelled):
        aircraft.ask(Aircraft.fly, flight)

    assert aircraft.ask(Aircraft.totals) == before
    assert (before["flights"], before["cancelled"], before["journal"]) == (2, 1, 1)


def test_a_flight_that_leaves_a_gap_is_refused(runtime: Runtime) -> None:
    """A flight whose predecessor was not saved is not taken: replaying would skip that one."""
    aircraft = runtime.get(Aircraft, "N1")

    with pytest.raises(ValueError, match="flight 2 after flight 0"):
        aircraft.ask(Aircraft.fly, replace(FLIGHT, leg=2))

    assert aircraft.ask(Aircraft.totals)["flights"] == 0


def test_the_player_never_goes_back(runtime: Runtime) -> None:
    """Neither an older position nor a nearer goal replaces what is known."""
    player = runtime.get(Player, "2013")
    player.ask(Player.start, "file", 100)
    player.ask(Player.reached, 50)

    player.ask(Player.reached, 40)
    plan = player.ask(Player.start, "file", 10)

    assert (plan.position, plan.goal, plan.run) == (50, 100, 2)


def test_both_ways_to_count_agree_at_any_point(runtime: Runtime, tmp_path: Path) -> None:
    """After any number of flights the agents and the independent count agree."""
    csv = write_flights(tmp_path / "flights.csv", 300, aircraft=20)
    fleet: dict[str, flights_check.Totals] = {}

    for number, flight in enumerate(Flights(csv), 1):
        aircraft = runtime.get(Aircraft, flight.tail)
        aircraft.ask(Aircraft.fly, flight)
        fleet[flight.tail] = aircraft.ask(Aircraft.totals)
        if number % 50 == 0:
            assert differences(fleet, flights_check.totals_from_file(csv, number)) == []


def test_the_count_to_compare_with_is_independent() -> None:
    """The file's totals are computed by the standard library alone."""
    tree = ast.parse(inspect.getsource(flights_check))

    imported: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        elif isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
    assert imported == {"__future__", "csv", "pathlib", "typing"}
