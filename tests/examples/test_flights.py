"""The flights demo, as a process of its own: it plays, survives what happens to it, compares."""

from __future__ import annotations

import os
import random
import re
import signal
from typing import TYPE_CHECKING

import pytest

from flights_agents import Aircraft
from tests.examples.support import flight_shown, run_example, start_example, write_flights
from torpor import hibernate, open_storage, thaw

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

FLIGHTS = 6_000
MANY_FLIGHTS = 20_000
AIRCRAFT = 400


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 6,000 flights by about 400 aircraft."""
    folder = tmp_path_factory.mktemp("flights")
    return write_flights(folder / "flights.csv", FLIGHTS, aircraft=AIRCRAFT)


@pytest.fixture(scope="module")
def many_flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that takes long enough to be interrupted on the way."""
    folder = tmp_path_factory.mktemp("flights")
    return write_flights(folder / "flights.csv", MANY_FLIGHTS, aircraft=AIRCRAFT)


def play(csv: Path, store: Path, *options: str) -> tuple[int, str]:
    """Run the demo to its end."""
    return run_example("flights.py", "--csv", csv, "--store", store, *options, cwd=store.parent)


def play_until(csv: Path, store: Path, flight: int, number: signal.Signals) -> tuple[int, str]:
    """Run the demo, and signal it as soon as it shows ``flight``."""
    with start_example(
        "flights.py", "--csv", csv, "--store", store, "--every", "0.01", cwd=store.parent
    ) as process:
        output = _signalled(process, flight, number)
    return process.returncode, output


def _signalled(process: subprocess.Popen[str], flight: int, number: signal.Signals) -> str:
    assert process.stdout is not None
    output, sent = "", False
    for line in process.stdout:
        output += line
        if not sent and (flight_shown(line) or 0) >= flight:
            process.send_signal(number)
            sent = True
    return output


def agreement(output: str) -> re.Match[str] | None:
    """Return the closing line that says that all agents agree, with how many flights."""
    return re.search(
        r"^All ([\d,]+) agents agree with the file: ([\d,]+) flights", output, re.MULTILINE
    )


def gone_on_after(output: str) -> int:
    """Return the flight after which a run says that it goes on."""
    match = re.search(r"goes on after flight ([\d,]+) of", output)
    assert match, output
    return int(match[1].replace(",", ""))


def test_every_agent_agrees_with_the_file(flights: Path, tmp_path: Path) -> None:
    """A whole file is played, and every total is that of the file."""
    code, output = play(flights, tmp_path / "f.db")

    assert code == 0, output
    found = agreement(output)
    assert found, output
    assert found[2] == f"{FLIGHTS:,}"


def test_at_most_200_aircraft_are_awake(flights: Path, tmp_path: Path) -> None:
    """Of about 400 aircraft no more than 200 are ever in memory; the others were thawed again."""
    _, output = play(flights, tmp_path / "f.db", "--every", "0.05")

    most = re.search(r"At most (\d+) aircraft were awake", output)
    thaws = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) thaws", output)]
    assert most, output
    assert 100 < int(most[1]) <= 200
    assert thaws[-1] > AIRCRAFT


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_lose_and_double_nothing(many_flights: Path, tmp_path: Path, seed: int) -> None:
    """Killed with SIGKILL three times on the way, it goes on and agrees to the last flight."""
    chance = random.Random(seed)
    store = tmp_path / "f.db"
    reached = 0

    for _ in range(3):
        flight = reached + chance.randint(500, MANY_FLIGHTS // 5)
        code, output = play_until(many_flights, store, flight, signal.SIGKILL)
        assert code == -signal.SIGKILL, output
        reached = flight
    code, output = play(many_flights, store)

    assert code == 0, output
    assert gone_on_after(output) > 0
    assert agreement(output), output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wish_to_stop_is_granted(
    many_flights: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM end it cleanly; it says how to go on, and goes on exactly there."""
    store = tmp_path / "f.db"

    code, stopped = play_until(many_flights, store, 2_000, number)
    assert code == 130, stopped
    match = re.search(r"Stopped after flight ([\d,]+); .* Run it again to go on", stopped)
    assert match, stopped
    code, output = play(many_flights, store)

    assert code == 0, output
    assert gone_on_after(output) == int(match[1].replace(",", ""))
    assert agreement(output), output


def test_a_finished_year_is_not_played_again(flights: Path, tmp_path: Path) -> None:
    """Started again after the end it says so, and shows and compares once more."""
    store = tmp_path / "f.db"
    play(flights, store)

    code, output = play(flights, store)

    assert code == 0, output
    assert f"All {FLIGHTS:,} flights were played before" in output
    assert "The busiest aircraft" in output
    assert agreement(output), output


def test_fresh_starts_anew(flights: Path, tmp_path: Path) -> None:
    """``--fresh`` forgets what the store held."""
    store = tmp_path / "f.db"
    play(flights, store)

    code, output = play(flights, store, "--fresh")

    assert code == 0, output
    assert f"Playing {FLIGHTS:,} flights" in output
    assert agreement(output), output


def test_rows_plays_the_first_flights_in_time(flights: Path, tmp_path: Path) -> None:
    """``--rows`` ends early, agrees with that much of the file, and can be raised later."""
    store = tmp_path / "f.db"

    _, first = play(flights, store, "--rows", "1000")
    _, further = play(flights, store, "--rows", "2500")
    code, fewer = play(flights, store, "--rows", "10")

    assert [found and found[2] for found in map(agreement, (first, further))] == ["1,000", "2,500"]
    assert gone_on_after(further) == 1_000
    assert code == 0, fewer
    assert "All 2,500 flights were played before" in fewer


def test_another_file_is_refused(flights: Path, tmp_path: Path) -> None:
    """A store is not mixed with the flights of another file."""
    store = tmp_path / "f.db"
    play(flights, store, "--rows", "100")
    other = write_flights(tmp_path / "other.csv", 200, aircraft=10, seed=9)

    code, output = play(other, store)

    assert code == 2, output
    assert "made from another file" in output


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n"])
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    """What is not a flights.csv is named, without a traceback."""
    csv = tmp_path / "other.csv"
    csv.write_text(content, "utf-8")

    code, output = play(csv, tmp_path / "f.db")

    assert code == 2, output
    assert "is not a flights.csv" in output
    assert "Traceback" not in output


def test_the_comparison_notices_a_changed_agent(flights: Path, tmp_path: Path) -> None:
    """One mile added to one aircraft behind the demo's back: exit code 1, and it is named."""
    store = tmp_path / "f.db"
    play(flights, store)
    with open_storage(f"sqlite:///{store}") as storage:
        aircraft = thaw(storage, Aircraft, "N00007")
        assert aircraft is not None
        expected = aircraft.distance
        aircraft.distance += 1
        hibernate(storage, aircraft)

    code, output = play(flights, store)

    assert code == 1, output
    assert f"N00007: distance is {expected + 1}, the file says {expected}" in output
    assert not agreement(output)


def test_the_comparison_notices_a_lost_and_an_invented_agent(flights: Path, tmp_path: Path) -> None:
    """An aircraft removed from the store and one put into it are both named."""
    store = tmp_path / "f.db"
    play(flights, store)
    with open_storage(f"sqlite:///{store}") as storage:
        storage.delete_checkpoint("aircraft/N00007")
        hibernate(storage, Aircraft(flights=1), "N99999")

    code, output = play(flights, store)

    assert code == 1, output
    assert "N00007: in the file, but no aircraft" in output
    assert "N99999: an aircraft that is not in the file" in output


def test_a_terminal_gets_a_bar(many_flights: Path, tmp_path: Path) -> None:
    """On a terminal there is a live bar with the figures; Ctrl-C leaves it in order."""
    ours, theirs = os.openpty()
    with start_example(
        "flights.py",
        "--csv",
        many_flights,
        "--store",
        "f.db",
        cwd=tmp_path,
        stdio=theirs,
        env={"TERM": "xterm"},
    ) as process:
        os.close(theirs)
        shown = _read_terminal(ours, process)
    os.close(ours)

    assert process.returncode == 130, shown
    for figure in ("━", "%", "turns/s", "awake", "hibernated", "thaws", "MB"):
        assert figure in shown
    assert shown.endswith("Run it again to go on.\r\n")


def _read_terminal(terminal: int, process: subprocess.Popen[str]) -> str:
    data, sent = b"", False
    while True:
        try:
            chunk = os.read(terminal, 65_536)
        except OSError:  # how Linux tells that the other end is closed
            chunk = b""
        if not chunk:
            return data.decode()
        data += chunk
        if not sent and b"thaws" in data:
            process.send_signal(signal.SIGINT)
            sent = True
