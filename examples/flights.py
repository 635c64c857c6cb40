"""Play every departure from New York in 2013 to aircraft that sleep between their flights.

Each of 4,044 aircraft is an agent that adds up its own year. At most 200 of them are awake at
any moment; the others hibernate on SQLite. Stop it with Ctrl-C, or kill it: started again, it
goes on where it was, and no flight is lost or counted twice.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import deque
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from rich.console import Console

from flights_agents import Aircraft, Player
from flights_census import AIRCRAFT, Census
from flights_check import totals_from_file
from flights_data import DataError, Flights, digest, fetch
from flights_progress import Snapshot, display_on
from flights_report import agreement, differences, show_tables
from torpor import Runtime, TorporError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from flights_agents import Plan
    from flights_check import Totals
    from flights_progress import Display
    from torpor import Reply

MAX_AWAKE = 200
WINDOW = 128  # calls under way at once; their aircraft can't be sent to sleep
SAVE_POSITION_EVERY = 1_000
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
DIFFERS, FAILED, INTERRUPTED = 1, 2, 130  # exit codes


class StopRequest:
    """Turns the first Ctrl-C (or SIGTERM) into a wish to stop; the next one interrupts."""

    signal: int | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._before[signal.Signals(number)])


class Year:
    """The flights, and the agents of one runtime that live through them."""

    def __init__(self, runtime: Runtime, flights: Flights, store: Path) -> None:
        self.census = Census(runtime)
        self.player = runtime.get(Player, "2013")
        self._runtime = runtime
        self._flights = flights
        self._files = [store.with_name(store.name + end) for end in ("", "-wal")]

    def play(self, plan: Plan, display: Display, stop: StopRequest) -> int:
        """Play what is planned, until ``stop``; return up to which flight all are saved.

        Calls are pipelined: ``WINDOW`` of them wait for their replies, and a reply comes once
        the flight is on disk. A process that dies leaves some flights saved beyond the player's
        position; they are sent again, and their aircraft know them.
        """
        window: deque[Reply[None]] = deque()
        flights = islice(self._flights, plan.goal)
        aircraft = sum(flight.leg == 1 for flight in islice(flights, plan.position))
        sent, next_show = plan.position, time.monotonic() + display.interval
        with display:
            for flight in flights:
                if stop.signal:
                    break
                if len(window) == WINDOW:
                    window.popleft().get()
                plane = self._runtime.get(Aircraft, flight.tail)
                window.append(plane.submit(Aircraft.fly, flight))
                aircraft += flight.leg == 1
                sent += 1
                if sent % SAVE_POSITION_EVERY == 0:
                    self.player.tell(Player.reached, sent - len(window))
                if time.monotonic() >= next_show or sent == plan.goal:
                    display.show(self._snapshot(sent, flight.day, aircraft))
                    next_show = time.monotonic() + display.interval
            for reply in window:
                reply.get()
        self.player.ask(Player.reached, sent)
        return sent

    def _snapshot(self, played: int, day: str, aircraft: int) -> Snapshot:
        awake = self.census.awake
        return Snapshot(
            played=played,
            day=day,
            awake=awake,
            asleep=max(0, aircraft - awake),
            thaws=self.census.thaws,
            store_bytes=sum(file.stat().st_size for file in self._files if file.exists()),
        )

    def fleet(self) -> dict[str, Totals]:
        """Ask every aircraft there is for its totals."""
        window: deque[tuple[str, Reply[Totals]]] = deque()
        totals: dict[str, Totals] = {}
        for tail in self._tails():
            if len(window) == WINDOW:
                asked, reply = window.popleft()
                totals[asked] = reply.get()
            window.append((tail, self._runtime.get(Aircraft, tail).submit(Aircraft.totals)))
        totals.update((asked, reply.get()) for asked, reply in window)
        return totals

    def _tails(self) -> Iterator[str]:
        cursor = None
        while True:
            page = self._runtime.storage.list_checkpoints(AIRCRAFT, cursor=cursor, limit=1000)
            yield from (record.key.removeprefix(AIRCRAFT) for record in page)
            cursor = page.cursor
            if cursor is None:
                return


def run(args: argparse.Namespace, console: Console) -> int:
    """Play, or go on; then show the tables and compare. Return the exit code."""
    store: Path = args.store.absolute()
    path: Path = args.csv or fetch()
    flights = Flights(path)
    if args.fresh:
        for end in ("", "-wal", "-shm"):
            store.with_name(store.name + end).unlink(missing_ok=True)
    with Runtime(f"sqlite:///{quote(str(store))}", max_live=MAX_AWAKE, idle_timeout=5) as runtime:
        year = Year(runtime, flights, store)
        goal = min(args.rows or len(flights), len(flights))
        plan = year.player.ask(Player.start, digest(path), goal)
        if plan.position == plan.goal:
            console.print(f"All {plan.goal:,} flights were played before; --fresh starts anew.")
        elif not play(year, plan, args, console):
            return INTERRUPTED
        fleet = year.fleet()
        most_awake = year.census.most_awake
    console.print(f"At most {most_awake} aircraft were awake at a time; {MAX_AWAKE} may be.\n")
    show_tables(console, fleet)
    found = differences(fleet, totals_from_file(path, plan.goal))
    if most_awake > MAX_AWAKE:
        found.append(f"{most_awake} aircraft were awake at a time")
    if found:
        console.print(f"{len(found):,} differences:", *found[:20], sep="\n", style="bold red")
        return DIFFERS
    console.print(agreement(fleet), style="bold green", soft_wrap=True)
    return 0


def play(year: Year, plan: Plan, args: argparse.Namespace, console: Console) -> bool:
    """Play with a live display; False if it was stopped before the end."""
    if plan.position:
        console.print(f"Run {plan.run}: goes on after flight {plan.position:,} of {plan.goal:,}.")
    else:
        console.print(f"Playing {plan.goal:,} flights; the aircraft sleep in {args.store}.")
    began = time.monotonic()
    display = display_on(console, plan.position, plan.goal, args.every)
    with StopRequest() as stop:
        reached = year.play(plan, display, stop)
    seconds = time.monotonic() - began
    console.print(f"{reached - plan.position:,} flights in {seconds:.1f} s.")
    if reached < plan.goal:
        console.print(f"Stopped after flight {reached:,}; all is saved. Run it again to go on.")
    return reached == plan.goal


def main() -> int:
    """Run the demo from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--store", type=Path, default=Path("flights.db"), help="the SQLite file (flights.db)"
    )
    parser.add_argument("--rows", type=_positive, help="play only the first ROWS flights")
    parser.add_argument("--fresh", action="store_true", help="delete the store and start anew")
    parser.add_argument("--csv", type=Path, help="a flights.csv to play instead of a download")
    parser.add_argument(
        "--every", type=_seconds, default=2.0, help="seconds between lines if not on a terminal (2)"
    )
    args = parser.parse_args()
    errors = Console(stderr=True, style="bold red", highlight=False, soft_wrap=True)
    try:
        return run(args, Console(highlight=False))
    except KeyboardInterrupt:
        errors.print("Interrupted. What was saved stays saved: run it again to go on.")
        return INTERRUPTED
    except (DataError, TorporError, OSError) as error:
        errors.print(f"Failed: {error}", markup=False)
        return FAILED


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    return max(0.001, float(text))


if __name__ == "__main__":
    sys.exit(main())
