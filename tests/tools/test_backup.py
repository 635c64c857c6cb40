"""Backups are whole, made while others write, and removed only by who made them."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.tools.kit import entry, exported, fill, grow
from torpor.storage import Storage, open_storage
from torpor.storage.backup import Backup, Keep, back_up
from torpor.storage.check import check
from torpor.storage.compression import Zstd
from torpor.storage.encoding import Codec
from torpor.storage.errors import ConfigurationError, CorruptRecordError
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing.kit import PATIENCE, owned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BACKENDS = ["sqlite", "file"]
DAY = 86_400.0


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a storage in use."""
    return f"{request.param}:///{tmp_path}/store"


@pytest.fixture
def storage(url: str) -> Iterator[Storage]:
    """Return a storage with some of everything."""
    with open_storage(url) as storage:
        fill(storage)
        yield storage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that is not there yet."""
    return tmp_path / "backups" / "daily"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose one number is the time of the backups."""
    now = [1_800_000_000.0]
    monkeypatch.setattr("torpor.storage.backup.time.time", lambda: now[0])
    return now


def opened(made: Backup) -> Storage:
    """Open a backup."""
    scheme = "sqlite" if made.path.suffix == ".db" else "file"
    return open_storage(f"{scheme}:///{made.path}")


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


class TestMaking:
    """A backup is the storage as it was."""

    def test_copy_is_equal(self, storage: Storage, folder: Path) -> None:
        """It is a storage of the same kind with the same content, tombstones included."""
        made = back_up(storage, folder)

        with opened(made) as copy:
            assert exported(copy) == exported(storage)
            assert copy.put_checkpoint("gone", 1) == 2
            assert [due.key for due in copy.list_due(4e9)] == [
                due.key for due in storage.list_due(4e9)
            ]
        assert made.removed == ()

    def test_names(self, storage: Storage, folder: Path, clock: list[float]) -> None:
        """The time of each stands in its name, beside a note; nothing else is left there."""
        for _ in range(2):
            back_up(storage, folder)
        clock[0] += 1
        back_up(storage, folder)

        suffix = ".db" if storage.name == "sqlite" else ""
        stamps = ["20270115T080000Z", "20270115T080000Z-2", "20270115T080001Z"]
        wanted = [f"torpor-{stamp}{end}" for stamp in stamps for end in (suffix, ".backup.json")]
        assert names(folder) == sorted(wanted)

    def test_while_a_writer_writes(self, url: str, folder: Path) -> None:
        """A backup holds each change whole, up to some moment, however fast they come."""
        stop = threading.Event()
        begun = threading.Event()
        written = itertools.count()

        def write() -> None:
            with open_storage(url) as own:
                while not stop.is_set():
                    number = next(written)
                    own.commit([owned(f"agent {number % 5}", f"agent {number % 5}#1", number)])
                    if number == 20:
                        begun.set()

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        try:
            assert begun.wait(PATIENCE)
            with open_storage(url) as storage:
                made = [back_up(storage, folder) for _ in range(3)]
        finally:
            stop.set()
            writer.join(PATIENCE)

        entries = 0
        for each in made:
            with opened(each) as copy:
                assert list(check(copy)) == []
                heads = [record.thread for record in copy.list_checkpoints()]
                now = sum(head.rev for head in heads if head)
                assert now >= max(entries, 20)
                entries = now

    def test_encoded_store(self, url: str, folder: Path) -> None:
        """What only a codec can read is copied as it is."""
        with open_storage(url, codec=Codec(compression=Zstd())) as encoded:
            encoded.put_checkpoint("a", "x" * 10_000)
        with open_storage(url) as raw:
            made = back_up(raw, folder)

        with opened(made) as copy:
            assert list(check(copy)) == []
        scheme = url.partition(":")[0]
        with open_storage(f"{scheme}:///{made.path}", codec=Codec(compression=Zstd())) as copy:
            found = copy.get_checkpoint("a")
            assert found is not None
            assert found.value == "x" * 10_000

    def test_other_storages_have_their_own(self, folder: Path) -> None:
        """A storage that is no file is refused, and nothing is made."""
        with MemoryStorage() as memory, pytest.raises(ConfigurationError, match="export"):
            back_up(memory, folder)

        assert not folder.exists()

    def test_damage_is_not_saved(self, tmp_path: Path, folder: Path) -> None:
        """A damaged storage makes no backup, and so drives out no sound one."""
        with open_storage(f"sqlite:///{tmp_path}/store") as storage:
            grow(storage, "a", entry(0))
            made = back_up(storage, folder)
            with closing(sqlite3.connect(tmp_path / "store")) as connection, connection:
                connection.execute("DELETE FROM entries")

            with pytest.raises(CorruptRecordError, match="no backup was made"):
                back_up(storage, folder, keep=Keep(count=1))

        assert names(folder) == sorted([made.path.name, f"{made.path.stem}.backup.json"])

    def test_damaged_document_is_not_saved(self, tmp_path: Path, folder: Path) -> None:
        """Nor is one of a file store."""
        with open_storage(f"file:///{tmp_path}/store") as storage:
            grow(storage, "a", entry(0))
            for place in (tmp_path / "store" / "checkpoints").iterdir():
                place.write_bytes(b"{}")

            with pytest.raises(CorruptRecordError):
                back_up(storage, folder)

        assert names(folder) == []


class TestKeeping:
    """Old backups go, and nothing else."""

    def test_newest_are_kept(self, storage: Storage, folder: Path, clock: list[float]) -> None:
        """A number keeps that many."""
        made: list[Backup] = []
        for _ in range(5):
            clock[0] += DAY
            made.append(back_up(storage, folder, keep=Keep.parse("3")))

        assert [each.removed for each in made] == [(), (), (), (made[0].path,), (made[1].path,)]
        assert len(names(folder)) == 6
        assert all(each.path.exists() for each in made[2:])

    def test_young_are_kept(self, storage: Storage, folder: Path, clock: list[float]) -> None:
        """A time keeps those that are not older, and always the newest."""
        made: list[Backup] = []
        for days in (0, 10, 25, 100):
            clock[0] += days * DAY
            made.append(back_up(storage, folder, keep=Keep.parse("30d")))

        assert made[2].removed == (made[0].path,)
        assert made[3].removed == (made[2].path, made[1].path)
        assert made[3].path.exists()

    def test_without_keep_nothing_goes(
        self, storage: Storage, folder: Path, clock: list[float]
    ) -> None:
        """Backups are for ever unless somebody says how long."""
        for _ in range(3):
            clock[0] += 1000 * DAY
            assert back_up(storage, folder).removed == ()

    def test_others_files_stay(self, storage: Storage, folder: Path, clock: list[float]) -> None:
        """Whatever has such a name and was not made here, or was changed since, is left alone."""
        folder.mkdir(parents=True)
        (folder / "torpor-20200101T000000Z.db").write_text("mine")
        (folder / "torpor-20200102T000000Z").mkdir()
        (folder / "torpor-20200103T000000Z.db").write_text("mine too")
        (folder / "torpor-20200103T000000Z.backup.json").write_text("{}")
        (folder / "torpor-20200104T000000Z.backup.json").write_text("no JSON")
        (folder / "notes.txt").write_text("mine")
        before = names(folder)
        changed = back_up(storage, folder)
        if changed.path.is_dir():
            (changed.path / "added").write_text("by hand")
        else:
            with changed.path.open("ab") as file:
                file.write(b"by hand")
        for _ in range(3):
            clock[0] += 100 * DAY
            back_up(storage, folder, keep=Keep.parse("1"))

        assert set(before) < set(names(folder))
        assert changed.path.exists()

    def test_other_sources_stay(
        self, storage: Storage, url: str, folder: Path, clock: list[float]
    ) -> None:
        """Two storages may have their backups in one folder."""
        with open_storage(f"{url}-2") as other:
            other.put_checkpoint("a", 1)
            first = back_up(other, folder, keep=Keep(count=1))
            clock[0] += DAY
            back_up(storage, folder, keep=Keep(count=1))
            clock[0] += DAY
            last = back_up(storage, folder, keep=Keep(count=1))

        assert len(last.removed) == 1
        assert first.path.exists()

    @pytest.mark.parametrize(
        "made_at", ["1e30", "9e999", "NaN", "1" + "0" * 400, '"x"', "[" * 9999]
    )
    def test_note_of_the_future(
        self, storage: Storage, folder: Path, clock: list[float], made_at: str
    ) -> None:
        """The newest backup is the one just made, whatever another's note, or clock, says."""
        back_up(storage, folder)
        [note] = folder.glob("*.backup.json")
        document = json.loads(note.read_text("utf-8"))
        note.write_text(json.dumps({**document, "made_at": "WHEN"}).replace('"WHEN"', made_at))
        clock[0] += DAY

        made = back_up(storage, folder, keep=Keep(count=1))

        assert made.path.exists()
        assert made.path not in made.removed

    def test_note_that_points_elsewhere(
        self, storage: Storage, folder: Path, clock: list[float]
    ) -> None:
        """A note counts only for what stands beside it under its own name."""
        made = back_up(storage, folder)
        note = next(folder.glob("*.backup.json"))
        elsewhere = folder / "torpor-x" / ".." / "victim"
        victim = folder / "victim"
        shutil.copytree(made.path, victim) if made.path.is_dir() else shutil.copy(made.path, victim)
        document = json.loads(note.read_text("utf-8")) | {"name": str(elsewhere)}
        (folder / "torpor-x.backup.json").write_text(json.dumps(document))
        clock[0] += DAY
        back_up(storage, folder, keep=Keep(count=1))

        assert victim.exists()

    @pytest.mark.parametrize("text", ["0", "0d", "-1", "30", "30d", "12h", "8w", "x", "", "1.5d"])
    def test_what_can_be_said(self, text: str) -> None:
        """Numbers, and numbers of hours, days and weeks, above 0."""
        meanings = {
            "30": Keep(count=30),
            "30d": Keep(seconds=30 * DAY),
            "12h": Keep(seconds=DAY / 2),
            "8w": Keep(seconds=56 * DAY),
        }
        if text in meanings:
            assert Keep.parse(text) == meanings[text]
        else:
            with pytest.raises(ConfigurationError):
                Keep.parse(text)


def test_restoring_is_copying_back(storage: Storage, url: str, folder: Path) -> None:
    """A copy of the backup in the storage's place is the storage again."""
    before = exported(storage)
    made = back_up(storage, folder)
    storage.put_checkpoint("plain", "spoilt")
    storage.close()
    place = made.path.parent.parent.parent / "store"
    for each in place.parent.glob("store*"):
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    shutil.copytree(made.path, place) if made.path.is_dir() else shutil.copy(made.path, place)

    with open_storage(url) as again:
        assert exported(again) == before
