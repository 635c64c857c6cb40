"""What is peculiar to SQLite storage: its URL and options, opening and closing."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.storage.sqlite_kit import open_file
from torpor.storage import open_storage
from torpor.storage.errors import (
    ConfigurationError,
    SchemaVersionError,
    StorageClosedError,
    StorageError,
)
from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.testing.kit import PATIENCE, checkpoint, together

if TYPE_CHECKING:
    from pathlib import Path


# -- URLs and options -----------------------------------------------------------------------------


def test_relative_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes name a file below the current folder; folders are made, ``%`` is decoded."""
    monkeypatch.chdir(tmp_path)
    with open_storage("sqlite:///new/folder/my%20%3Fstore.db") as storage:
        assert isinstance(storage, SQLiteStorage)
    assert (tmp_path / "new" / "folder" / "my ?store.db").is_file()


def test_absolute_url(sqlite_path: Path) -> None:
    """Four slashes name a file from the root."""
    with open_storage(f"sqlite:///{sqlite_path}"):
        assert sqlite_path.is_file()


def test_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is opened after a change of folder goes to the same file."""
    monkeypatch.chdir(tmp_path)
    with closing(open_file("store.db")) as file:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        file.write(lambda _: file.fetch("SELECT count(*) FROM checkpoints", ()))
    assert not (tmp_path / "other" / "store.db").exists()


@pytest.mark.parametrize(
    "url", ["sqlite:", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/store.db"]
)
def test_url_without_file(url: str) -> None:
    """A URL that names no file is refused, and the message tells what is there for memory."""
    with pytest.raises(ConfigurationError, match="MemoryStorage"):
        open_storage(url)


def test_options_in_url(sqlite_path: Path) -> None:
    """Options count in the URL and beside it; the latter win."""
    url = f"sqlite:///{sqlite_path}?synchronous=normal&busy_timeout=2&page_size=4096"
    with open_storage(url, busy_timeout=0.5) as storage:
        storage.put_checkpoint("agent", 1)
        assert storage.timeout == 0.5
    with closing(sqlite3.connect(sqlite_path)) as connection:
        assert connection.execute("PRAGMA page_size").fetchone() == (4096,)


@pytest.mark.parametrize(
    "query",
    [
        "colour=red",
        "busy_timeout=soon",
        "synchronous=sometimes",
        "page_size=1000",
        "busy_timeout=-1",
    ],
)
def test_wrong_option(sqlite_path: Path, query: str) -> None:
    """What is no option, or no value of it, is refused before a file is made."""
    with pytest.raises(ConfigurationError, match=query.partition("=")[0]):
        open_storage(f"sqlite:///{sqlite_path}?{query}")
    assert not sqlite_path.exists()


@pytest.mark.parametrize(
    ("options", "level"), [({}, 2), ({"synchronous": "normal"}, 1), ({"synchronous": "off"}, 0)]
)
def test_durability(sqlite_path: Path, options: dict[str, Any], level: int) -> None:
    """Every connection writes ahead; it syncs each commit unless told otherwise (rule 3)."""
    with closing(open_file(sqlite_path, **options)) as file:
        assert file.fetch("PRAGMA journal_mode", ()) == ("wal",)

        def second_connection(_: object) -> Any:
            return file.fetch("PRAGMA synchronous", ())

        assert file.write(second_connection) == file.fetch("PRAGMA synchronous", ()) == (level,)


# -- opening --------------------------------------------------------------------------------------


def test_newer_schema_is_refused(sqlite_path: Path) -> None:
    """A file of a newer Torpor is left as it is, to the byte."""
    with SQLiteStorage(sqlite_path) as storage:
        storage.put_checkpoint("agent", 1)
    with closing(sqlite3.connect(sqlite_path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = _contents(sqlite_path)

    with pytest.raises(SchemaVersionError) as caught:
        SQLiteStorage(sqlite_path)

    assert (caught.value.found, caught.value.supported) == (99, 1)
    assert _contents(sqlite_path) == before


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE theirs (x)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"]
)
def test_foreign_database_is_refused(sqlite_path: Path, statement: str) -> None:
    """A SQLite file of another program is left as it is, to the byte."""
    with closing(sqlite3.connect(sqlite_path)) as connection:
        connection.execute(statement)
    before = _contents(sqlite_path)

    with pytest.raises(ConfigurationError, match="another program"):
        SQLiteStorage(sqlite_path)

    assert _contents(sqlite_path) == before


def test_other_file_is_refused(sqlite_path: Path) -> None:
    """A file that is no SQLite database is left as it is."""
    sqlite_path.write_text("Dear diary, " * 100)
    before = _contents(sqlite_path)

    with pytest.raises(ConfigurationError, match="not a database"):
        SQLiteStorage(sqlite_path)

    assert _contents(sqlite_path) == before


def test_folder_is_refused(tmp_path: Path) -> None:
    """A folder, or a place below a file, cannot be opened."""
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "store.db"):
        with pytest.raises(ConfigurationError, match="cannot open"):
            SQLiteStorage(place)


def test_empty_file_is_taken(sqlite_path: Path) -> None:
    """A file without a byte, as ``mktemp`` makes, becomes a store."""
    sqlite_path.touch()
    with SQLiteStorage(sqlite_path) as storage:
        assert storage.put_checkpoint("agent", 1) == 1


def test_opened_by_many_at_once(sqlite_path: Path) -> None:
    """Whoever comes first creates the schema, nobody fails, nothing is lost (rule 13)."""
    for number in range(25):
        place = sqlite_path.with_name(f"{number}.db")

        def open_and_write(name: str, place: Path = place) -> None:
            with SQLiteStorage(place) as storage:
                storage.put_checkpoint(name, name)

        together(*((lambda name=name: open_and_write(name)) for name in "abcd"))

        with SQLiteStorage(place) as storage:
            assert [record.key for record in storage.list_checkpoints()] == ["a", "b", "c", "d"]


def test_old_sqlite_is_refused(sqlite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite without JSON is told at once, not by an error in the middle of the work."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(ConfigurationError, match=r"3\.38"):
        SQLiteStorage(sqlite_path)


# -- closing --------------------------------------------------------------------------------------


def test_close_leaves_one_file(sqlite_path: Path) -> None:
    """The write-ahead log is moved into the file, which can then be copied."""
    storage = SQLiteStorage(sqlite_path)
    storage.put_checkpoint("agent", 1)
    storage.close()
    storage.close()

    assert [found.name for found in sqlite_path.parent.iterdir()] == [sqlite_path.name]
    sqlite_path.rename(sqlite_path.with_name("moved.db"))
    with SQLiteStorage(sqlite_path.with_name("moved.db")) as moved:
        assert checkpoint(moved, "agent").value == 1


def test_close_during_a_write(sqlite_path: Path) -> None:
    """The write that is under way ends well, and the last one out closes the file."""
    file = open_file(sqlite_path)
    started, finish = threading.Event(), threading.Event()
    results: list[str] = []

    def slow(_: object) -> str:
        started.set()
        assert finish.wait(PATIENCE)
        return "written"

    writing = threading.Thread(target=lambda: results.append(file.write(slow)))
    writing.start()
    assert started.wait(PATIENCE)
    file.close()
    finish.set()
    writing.join()

    assert results == ["written"]
    assert [found.name for found in sqlite_path.parent.iterdir()] == [sqlite_path.name]
    with pytest.raises(StorageClosedError):
        file.fetch("SELECT 1", ())


def test_file_that_was_taken_away(sqlite_path: Path) -> None:
    """Writing on to a file that was removed is no success (rule 8)."""
    with SQLiteStorage(sqlite_path) as storage:
        storage.put_checkpoint("agent", 1)
        for found in sqlite_path.parent.iterdir():
            found.unlink()
        with pytest.raises(StorageError, match="taken away"):
            _until_failure(storage)
        assert not sqlite_path.exists()


def _contents(path: Path) -> dict[str, bytes]:
    return {found.name: found.read_bytes() for found in path.parent.iterdir()}


def _until_failure(storage: SQLiteStorage) -> NoReturn:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        storage.put_checkpoint("agent", 2)
    pytest.fail("nobody noticed")
