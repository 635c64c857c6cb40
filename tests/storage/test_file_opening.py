"""Opening a file storage: which folders it takes, its URL, and its locks."""

# A test may hold a storage's locks.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.file_scenario import names
from torpor.storage import open_storage
from torpor.storage.errors import (
    ConfigurationError,
    SchemaVersionError,
    StorageUnavailableError,
)
from torpor.storage.file import FileStorage
from torpor.storage.file.layout import STRIPES
from torpor.storage.records import Saved
from torpor.storage.testing.kit import checkpoint, owned, payloads, put, together

if TYPE_CHECKING:
    from pathlib import Path


def test_newer_store_is_refused(tmp_path: Path) -> None:
    """A store of a later format is told of, and nothing in it is touched."""
    FileStorage(tmp_path).close()
    store = tmp_path / "store.json"
    store.write_text(store.read_text("utf-8").replace('"version": 1', '"version": 2'), "utf-8")
    shutil.rmtree(tmp_path / "due")
    before = _snapshot(tmp_path)

    with pytest.raises(SchemaVersionError) as caught:
        FileStorage(tmp_path)

    assert (caught.value.found, caught.value.supported) == (2, 1)
    assert _snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", "mine"),
        ("tmp/notes.txt", "mine"),
        ("checkpoints/notes.txt", "mine"),
        ("store.json", "no json"),
        ("store.json", "[]"),
        ("store.json", '{"format": "something else", "version": 1}'),
        ("store.json", '{"format": "torpor file store", "version": "1"}'),
    ],
)
def test_foreign_folder_is_refused(tmp_path: Path, name: str, content: str) -> None:
    """A folder that holds anything else is not made into a store, nor touched."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    before = _snapshot(tmp_path)

    with pytest.raises(ConfigurationError):
        FileStorage(tmp_path)

    assert _snapshot(tmp_path) == before


def test_file_is_no_folder(tmp_path: Path) -> None:
    """A store is not made in the place of a file."""
    (tmp_path / "file").write_text("mine")

    with pytest.raises(ConfigurationError, match="not a folder"):
        FileStorage(tmp_path / "file")


def test_store_that_was_being_made_is_made(tmp_path: Path) -> None:
    """A process that died while it made the store, or is still at it, is no obstacle."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "0123.partial").write_text('{"format"')

    with FileStorage(tmp_path) as file:
        assert file.put_checkpoint("agent", 1) == 1


def test_many_may_make_a_store_at_once(tmp_path: Path) -> None:
    """Whoever comes first, all get the same store (rule 13)."""
    for attempt in range(20):
        path = tmp_path / str(attempt)

        def open_and_write(number: int, path: Path = path) -> int:
            with FileStorage(path, fsync=False) as file:
                return file.append_thread("log", {"payload": number}).rev

        revs = together(*(partial(open_and_write, number) for number in range(6)))

        assert sorted(revs) == [1, 2, 3, 4, 5, 6]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    """Parents of a new store, and empty folders that a copy of it lost, come into being."""
    with FileStorage(tmp_path / "a" / "b") as file:
        file.put_checkpoint("agent", 1)
    for folder in ("threads", "due", "tmp", "locks"):
        shutil.rmtree(tmp_path / "a" / "b" / folder)

    with FileStorage(tmp_path / "a" / "b") as file:
        assert checkpoint(file, "agent").value == 1
        assert file.append_thread("log", {}, wake_at=1.0).rev == 1


def test_place_does_not_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is relative to where the process was when it opened the store."""
    monkeypatch.chdir(tmp_path)
    with FileStorage("store") as file:
        monkeypatch.chdir("/")
        file.put_checkpoint("agent", 1)

    with FileStorage(tmp_path / "store") as file:
        assert checkpoint(file, "agent").value == 1


@pytest.mark.parametrize(
    "url",
    [
        "file://{}/a%20b%23c",
        "file://localhost{}/a%20b%23c",
        "file:///{}/a%20b%23c?timeout=2.5",
        "file:{}/a%20b%23c?fsync=off&timeout=2.5",
        "file:a%20b%23c",
    ],
)
def test_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A URL names an absolute folder, percent-encoded; without slashes a relative one."""
    monkeypatch.chdir(tmp_path)
    with open_storage(url.format(tmp_path)) as storage:
        assert isinstance(storage, FileStorage)
        assert storage.path == tmp_path / "a b#c"
        assert storage.timeout == (2.5 if "timeout" in url else 5.0)


def test_keywords_win_over_the_url(tmp_path: Path) -> None:
    """Options passed to ``open_storage`` replace those of the URL."""
    with open_storage(f"file://{tmp_path}?timeout=2", timeout=3.0) as storage:
        assert storage.timeout == 3.0


@pytest.mark.parametrize(
    "url",
    [
        "file:",
        "file://",
        "file:///",
        "file://relative/folder",
        "file://{}/a?synchronous=full",
        "file://{}/a?fsync=perhaps",
        "file://{}/a?fsync",
        "file://{}/a?timeout=soon",
        "file://{}/a?timeout=0",
        "file://{}/a?timeout=nan",
        "file://{}/a#b",
        "file://{}/%ff",
        "file://{}/%00",
    ],
)
def test_wrong_url_is_refused(tmp_path: Path, url: str) -> None:
    """A URL that names no folder, or an option that there is not, is told of and opens nothing."""
    with pytest.raises(ConfigurationError):
        open_storage(url.format(tmp_path))

    assert names(tmp_path) == []


# -- locks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["another process", "another thread"])
def test_nobody_waits_for_ever(file: FileStorage, who: str) -> None:
    """A lock that is held by another is waited for until the timeout (rule 13)."""
    with FileStorage(file.path, timeout=0.05) as impatient:
        holder = file if who == "another process" else impatient
        with (
            holder._locks.hold(STRIPES),
            pytest.raises(StorageUnavailableError, match="held by another for 0"),
        ):
            impatient.commit([put("agent")])
        assert impatient.get_checkpoint("agent") is None

        assert impatient.commit([put("agent")]) == [Saved(1)]


def test_readers_need_no_lock(file: FileStorage) -> None:
    """Whoever reads does not wait for whoever writes (rule 13)."""
    file.commit([owned("agent", "agent#1", "a", value=1, wake_at=1.0)])

    with file._locks.hold(STRIPES):
        assert checkpoint(file, "agent").value == 1
        assert payloads(file.load_thread("agent#1")) == ["a"]
        assert len(file.list_checkpoints()) == len(file.list_due(1.0)) == 1


def _snapshot(folder: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.is_file() and path.read_bytes(),
        )
        for path in folder.rglob("*")
    }
