"""The agents of the flights demo: the aircraft, and the player that remembers how far it got."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flights_data import DataError, Flight
from torpor import Agent

if TYPE_CHECKING:
    from flights_check import Totals

__all__ = ["Aircraft", "Plan", "Player"]


class Aircraft(Agent):
    """One aircraft and its year so far: minutes, miles, and the airport it flew to last."""

    carrier: str = ""
    airport: str = ""
    flights: int = 0
    cancelled: int = 0
    landed: int = 0
    departure_delay: int = 0
    arrival_delay: int = 0
    air_time: int = 0
    distance: int = 0

    def fly(self, flight: Flight) -> None:
        """Take the next flight. A flight that was taken before changes nothing."""
        if flight.leg <= self.flights:
            return
        if flight.leg != self.flights + 1:
            msg = f"{self.id} got flight {flight.leg} after flight {self.flights}"
            raise ValueError(msg)
        self.flights = flight.leg
        self.carrier = flight.carrier
        if flight.departure_delay is None:
            self.cancelled += 1
            self.thread.append("cancelled", {"day": flight.day, "to": flight.destination})
            return
        self.departure_delay += flight.departure_delay
        self.distance += flight.distance
        self.airport = flight.destination
        if flight.arrival_delay is not None and flight.air_time is not None:
            self.landed += 1
            self.arrival_delay += flight.arrival_delay
            self.air_time += flight.air_time

    def totals(self) -> Totals:
        """Return the year so far."""
        return {
            "carrier": self.carrier,
            "airport": self.airport,
            "flights": self.flights,
            "cancelled": self.cancelled,
            "landed": self.landed,
            "departure_delay": self.departure_delay,
            "arrival_delay": self.arrival_delay,
            "air_time": self.air_time,
            "distance": self.distance,
            "journal": self.thread.rev,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run has to play: the flights after ``position``, up to ``goal``."""

    position: int
    goal: int
    run: int


class Player(Agent):
    """Remembers how far the year was played: every flight up to ``position`` is saved."""

    source: str = ""
    position: int = 0
    goal: int = 0
    runs: int = 0

    def start(self, source: str, goal: int) -> Plan:
        """Begin a run over the file ``source``; it goes as far as any run was meant to go."""
        if self.source not in {"", source}:
            msg = "this store was made from another file: use --fresh, or another --store"
            raise DataError(msg)
        self.source = source
        self.goal = max(self.goal, goal)
        self.runs += 1
        return Plan(self.position, self.goal, self.runs)

    def reached(self, position: int) -> None:
        """Note that every flight up to ``position`` is saved by its aircraft."""
        self.position = max(self.position, position)
