"""``check`` finds each kind of damage, and none where there is none."""

# ruff: noqa: S608 - the statements are these tests' own

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.places.registry import PLACES
from tests.tools.kit import entry, fill, grow
from torpor.storage import Record, Space, codec, open_storage
from torpor.storage.check import Finding, check
from torpor.storage.errors import StorageUnavailableError
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.transfer import copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torpor.storage import Entry


@pytest.mark.parametrize("name", sorted(PLACES))
def test_sound_storage_has_no_findings(empty_place: Callable[[str], str], name: str) -> None:
    """Whatever there can be, on each backend, is found sound, and is all looked at."""
    seen: list[int] = []
    with open_storage(empty_place(name)) as storage, MemoryStorage() as origin:
        fill(origin)
        copy(origin, storage)

        assert list(check(storage, on_batch=seen.append)) == []

    assert seen[-1] >= 12


class SQLitePlace:
    """A SQLite file with an agent, ``cart/1``, that is to be damaged."""

    def __init__(self, url: str) -> None:
        self.path = url.removeprefix("sqlite:///")
        self.storage = open_storage(url)
        fill(self.storage)
        grow(self.storage, "cart/1", *(entry(seq) for seq in range(4)), wake_at=5.0)

    def damage(self, *statements: str) -> None:
        """Execute statements behind the storage's back."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture
def place(empty_place: Callable[[str], str]) -> Iterator[SQLitePlace]:
    """Return a SQLite file with an agent."""
    place = SQLitePlace(empty_place("sqlite"))
    with place.storage:
        yield place


OF_1 = "WHERE thread_id = 'cart/1#1'"


@pytest.mark.parametrize(
    ("statement", "problem", "where"),
    [
        ("UPDATE checkpoints SET data = '[]' WHERE key = 'cart/1'", "record", "cart/1"),
        ("UPDATE checkpoints SET rev = 9 WHERE key = 'cart/1'", "record", "cart/1"),
        ("UPDATE checkpoints SET wake_at = NULL WHERE key = 'cart/1'", "record", "cart/1"),
        ("UPDATE checkpoints SET deleted = 1 WHERE key = 'cart/1'", "record", "cart/1"),
        ("UPDATE checkpoints SET thread = 'x' WHERE key = 'cart/1'", "record", "cart/1"),
        ("UPDATE checkpoints SET rev = 9 WHERE key = 'gone'", "record", "gone"),
        ("UPDATE threads SET thread = replace(thread, ':1', ':2')", "record", "log"),
        (f"DELETE FROM entries {OF_1}", "pointer", "cart/1"),
        (f"DELETE FROM entries {OF_1} AND seq = 3", "pointer", "cart/1"),
        (
            f"UPDATE entries SET document = replace(document, 'y 3', 'x') {OF_1}",
            "pointer",
            "cart/1",
        ),
        (f"DELETE FROM entries {OF_1} AND seq = 1", "thread", "cart/1"),
        (f"UPDATE entries SET checksum = 1 {OF_1} AND seq = 0", "thread", "cart/1"),
        (f"UPDATE entries SET seq = -seq {OF_1} AND seq = 1", "thread", "cart/1"),
        ("DELETE FROM entries WHERE thread_id = 'log' AND seq = 2", "thread", "log"),
        ("DELETE FROM checkpoints WHERE key = 'cart/1'", "orphan", "cart/1#1"),
        ("DELETE FROM threads WHERE key = 'log'", "orphan", "log"),
    ],
)
def test_damage_is_found(place: SQLitePlace, statement: str, problem: str, where: str) -> None:
    """Each fault has its name and its place, and is the only thing that is found there."""
    place.damage(statement)

    found = [finding for finding in check(place.storage) if finding.where == where]

    assert [finding.problem for finding in found] == [problem]
    assert found[0].detail


def test_one_fault_hides_no_other(place: SQLitePlace) -> None:
    """Everything is looked at, whatever was found before."""
    place.damage(
        "UPDATE checkpoints SET data = '[]' WHERE key = 'cart/1'",
        "DELETE FROM entries WHERE thread_id = 'cart/short#1' AND seq = 0",
        "DELETE FROM checkpoints WHERE key = 'cart/long'",
        "UPDATE threads SET checksum = 0 WHERE key = 'log empty'",
    )

    assert [(finding.problem, finding.where) for finding in check(place.storage)] == [
        ("record", "cart/1"),
        ("thread", "cart/short"),
        ("record", "log empty"),
        ("orphan", "cart/long#1"),
    ]


def test_head_with_a_right_checksum_is_compared(place: SQLitePlace) -> None:
    """A head that names another newest entry is found by comparing, not by its checksum."""
    [record] = place.storage.read_records(Space.CHECKPOINTS, ["cart/1"])
    assert isinstance(record, Record)
    head = codec.encode_head(record.thread)
    assert head is not None
    wrong = head.replace("entry 3", "entry 2")
    checksum = codec.record_checksum(record, wrong)
    place.damage(
        f"UPDATE checkpoints SET thread = '{wrong}', checksum = {checksum} WHERE key = 'cart/1'"
    )

    assert [finding.problem for finding in check(place.storage)] == ["pointer"]


def test_database_that_sqlite_finds_damaged(place: SQLitePlace) -> None:
    """What SQLite itself says of the file is told."""
    place.damage(
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_master SET sql = replace(sql, 'wake_at IS NOT NULL', 'rev > 1')"
        " WHERE name = 'checkpoints_due'",
    )
    place.storage.close()
    with open_storage(f"sqlite:///{place.path}") as storage:
        assert {finding.problem for finding in check(storage)} == {"database"}


def test_scribbled_file_is_a_finding(place: SQLitePlace) -> None:
    """Pages full of something else end in findings, not in an error."""
    place.storage.close()
    with open(place.path, "r+b") as file:  # noqa: PTH123 - to write in the middle
        file.seek(0, 2)
        size = file.tell()
        for page in range(8192 * 2, size - 8192, 8192):
            file.seek(page)
            file.write(b"\xa5" * 4096)
    with open_storage(f"sqlite:///{place.path}") as storage:
        assert "database" in {finding.problem for finding in check(storage)}


def test_nothing_is_written(place: SQLitePlace) -> None:
    """Looking changes no byte of the records."""
    place.damage("UPDATE checkpoints SET data = '[]' WHERE key = 'cart/1'")
    with closing(sqlite3.connect(place.path)) as connection:
        before = list(connection.iterdump())
        assert list(check(place.storage))
        assert list(connection.iterdump()) == before


class TestFiles:
    """Damage in a folder of files."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """Return the folder of a store."""
        with open_storage(f"file:///{tmp_path}/store") as storage:
            grow(storage, "cart/1", *(entry(seq) for seq in range(4)), wake_at=5.0)
            grow(storage, "cart/2", entry(0))
        return tmp_path / "store"

    def _check(self, root: Path) -> list[Finding]:
        with open_storage(f"file://{root}") as storage:
            return list(check(storage))

    def test_garbled_document(self, root: Path) -> None:
        """A document that does not even tell its key is named by its file."""
        place = root / "checkpoints" / f"{_hash('cart/1')}.json"
        place.write_bytes(b"\0" * 100)

        [finding] = self._check(root)

        assert (finding.problem, finding.where) == ("record", str(place))

    def test_changed_document(self, root: Path) -> None:
        """One that does is named by its key, once."""
        place = root / "checkpoints" / f"{_hash('cart/1')}.json"
        place.write_text(place.read_text("utf-8").replace('"rev": 1', '"rev": 7', 1), "utf-8")

        assert [(f.problem, f.where) for f in self._check(root)] == [("record", "cart/1")]

    def test_lost_wake_up(self, root: Path) -> None:
        """A record that wants to be woken, and of which the index knows nothing."""
        for hint in (root / "due").iterdir():
            hint.unlink()

        assert [(f.problem, f.where) for f in self._check(root)] == [("wake-up", "cart/1")]

    @pytest.mark.parametrize(("line", "problem"), [(1, "thread"), (3, "pointer")])
    def test_damaged_entry(self, root: Path, line: int, problem: str) -> None:
        """An entry in the middle, and the newest one."""
        place = root / "threads" / _hash("cart/1#1") / "entries.jsonl"
        lines = place.read_bytes().splitlines(keepends=True)
        lines[line] = lines[line].replace(b"entry", b"Entry")
        place.write_bytes(b"".join(lines))

        assert [(f.problem, f.where) for f in self._check(root)] == [(problem, "cart/1")]

    def test_what_a_crash_leaves_is_no_damage(self, root: Path) -> None:
        """Stray entries, folders without a head, hints that came early, partial files."""
        with (root / "threads" / _hash("cart/1#1") / "entries.jsonl").open("ab") as log:
            log.write(b'{"seq":4,"checksum":0,"entry":{"torn')
        (root / "threads" / _hash("cart/3#1")).mkdir()
        (root / "due" / f"0000000000001.000000.checkpoints.{_hash('cart/2')}").touch()
        (root / "tmp" / "1.partial").write_bytes(b"torn")

        assert self._check(root) == []


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class TestWhileInUse:
    """What changes while it is looked at is no damage."""

    def test_agent_that_changes(self) -> None:
        """A thread that is trimmed between the readings of record and entries is read again."""
        with MemoryStorage() as inner:
            grow(inner, "cart/1", *(entry(seq) for seq in range(4)))

            class Interrupted(FaultyStorage):
                trims = 2

                def _read_entries(self, *args: Any, **options: Any) -> Sequence[Entry]:
                    if self.trims:
                        self.trims -= 1
                        grow(inner, "cart/1", entry(9 - self.trims), trim_before=4 - self.trims)
                    return super()._read_entries(*args, **options)

            assert list(check(Interrupted(inner))) == []

    def test_unreachable_storage_is_no_finding(self, place: SQLitePlace) -> None:
        """A storage that does not answer is an error: nothing is known of it."""
        faulty = FaultyStorage(place.storage)
        faulty.disconnect()

        with pytest.raises(StorageUnavailableError):
            list(check(faulty))
