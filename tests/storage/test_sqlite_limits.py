"""SQLite storage under locks, interrupts and lack of space."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import Mock

import pytest

from tests.storage.sqlite_kit import big, open_file
from torpor.storage import Change, Saved
from torpor.storage.errors import StorageError, StorageFullError, StorageUnavailableError
from torpor.storage.sqlite import SQLiteStorage, waiting
from torpor.storage.sqlite import file as sqlite_file_module
from torpor.storage.sqlite import storage as sqlite_storage_module
from torpor.storage.sqlite.direct import write_directly
from torpor.storage.testing.kit import PATIENCE, checkpoint, put

if TYPE_CHECKING:
    from pathlib import Path


# -- locks ----------------------------------------------------------------------------------------


def test_lock_of_another_writer(sqlite_path: Path) -> None:
    """It is waited for as long as was asked, reads go on, and afterwards all is well (rule 13)."""
    with SQLiteStorage(sqlite_path, busy_timeout=0.1) as storage:
        storage.put_checkpoint("agent", "before")
        change = put("agent", "after", expected_rev=1)
        with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            begin = time.monotonic()
            with pytest.raises(StorageUnavailableError, match="locked"):
                storage.commit([change])
            assert 0.1 <= time.monotonic() - begin < PATIENCE
            assert checkpoint(storage, "agent").value == "before"

        assert storage.commit([change]) == [Saved(2)]


def test_a_write_in_two_ways_waits_for_a_lock_once(
    sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one statement could not write after a wait has only the rest of the time left."""
    now, lock_ends, busy_timeout = 0.0, 4.0, 5.0

    def wait(_: float) -> None:
        nonlocal now
        now += 1
        if now == lock_ends:
            other.execute("ROLLBACK")

    def refused(*args: Any) -> None:
        assert write_directly(*args) is None
        other.execute("BEGIN IMMEDIATE")

    with (
        SQLiteStorage(sqlite_path, busy_timeout=busy_timeout) as storage,
        closing(sqlite3.connect(sqlite_path, isolation_level=None)) as other,
    ):
        storage.put_checkpoint("agent", "before")
        monkeypatch.setattr(sqlite_storage_module, "write_directly", refused)
        for module in (sqlite_file_module, waiting):
            monkeypatch.setattr(module, "time", Mock(monotonic=lambda: now, sleep=wait))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailableError, match="locked"):
            storage.commit([put("agent", "stale", expected_rev=7)])

    assert now == busy_timeout


def test_lock_of_another_thread(sqlite_path: Path) -> None:
    """A write that hangs makes other writes unavailable; reads go on (rule 13)."""
    with closing(open_file(sqlite_path, busy_timeout=0.05)) as file:
        started, finish = threading.Event(), threading.Event()

        def hang(_: object) -> None:
            started.set()
            assert finish.wait(PATIENCE)

        hanging = threading.Thread(target=file.write, args=(hang,))
        hanging.start()
        try:
            assert started.wait(PATIENCE)
            with pytest.raises(StorageUnavailableError, match="this process"):
                file.write(lambda _: None)
            assert file.fetch("SELECT count(*) FROM checkpoints", ()) == (0,)
        finally:
            finish.set()
            hanging.join()
        assert file.write(lambda _: "written") == "written"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_broken_off_write(sqlite_path: Path, error: type[BaseException]) -> None:
    """Whatever breaks a write off, nothing of it stays, and the next one succeeds (rule 1)."""
    with closing(open_file(sqlite_path)) as file:

        def broken(connection: sqlite3.Connection) -> NoReturn:
            connection.execute("INSERT INTO checkpoints (key) VALUES ('half')")
            raise error

        with pytest.raises(error):
            file.write(broken)

        assert file.fetch("SELECT count(*) FROM checkpoints", ()) == (0,)
        assert file.write(lambda _: "written") == "written"


def test_an_interrupt_while_a_write_ends_leaves_no_lock(
    sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it comes, other threads can write afterwards."""
    interrupted = Mock(side_effect=KeyboardInterrupt)
    with closing(open_file(sqlite_path)) as file:
        with monkeypatch.context() as patch:
            patch.setattr(file, "_give_back", interrupted)
            with pytest.raises(KeyboardInterrupt):
                file.write(lambda _: None)
        interrupted.call_args.args[0].close()  # the connection, which nobody has any more

        with ThreadPoolExecutor() as other:
            assert other.submit(file.write, lambda _: "written").result(PATIENCE) == "written"


def test_large_batches_need_no_temporary_files(sqlite_path: Path) -> None:
    """There may be no place for them, as in containers whose only volume holds the store."""
    with closing(open_file(sqlite_path)) as file:
        assert file.fetch("PRAGMA temp_store", ()) == (2,)


def test_connection_that_cannot_roll_back(sqlite_path: Path) -> None:
    """It is not used again."""
    with closing(open_file(sqlite_path)) as file:
        with pytest.raises(StorageError):
            file.write(lambda connection: connection.close())

        assert file.write(lambda _: "written") == "written"


def test_read_only_file(sqlite_path: Path) -> None:
    """A write that can't ever succeed is an error at once, not one to try again."""
    with closing(open_file(sqlite_path)) as file:
        file.write(lambda connection: connection.execute("PRAGMA query_only = 1").close())

        with pytest.raises(StorageError, match="readonly") as caught:
            file.write(lambda connection: connection.execute("DELETE FROM checkpoints").close())

        assert not isinstance(caught.value, StorageUnavailableError)


# -- space ----------------------------------------------------------------------------------------


def test_full_disk(sqlite_path: Path) -> None:
    """Without space nothing is lost, and with space the same change is saved."""
    with SQLiteStorage(sqlite_path, max_bytes=300_000) as storage:
        *saved, last = _changes_until_full(storage)
        with pytest.raises(StorageFullError):
            storage.commit([last])
        assert storage.get_checkpoint(last.key) is None
        assert len(saved) > 10
    with SQLiteStorage(sqlite_path) as storage:
        assert storage.commit([last]) == [Saved(1)]
        for number, change in enumerate([*saved, last]):
            assert checkpoint(storage, change.key).value == big(number)


def _changes_until_full(storage: SQLiteStorage) -> list[Change]:
    """Return all that was committed; the last one of them was not saved."""
    sent: list[Change] = []
    for number in range(100):
        sent.append(put(f"agent {number}", big(number)))
        try:
            storage.commit(sent[-1:])
        except StorageFullError:
            return sent
    pytest.fail("the disk is never full")


def test_size_on_disk(sqlite_path: Path) -> None:
    """What is not yet in the file but in its log counts too."""
    with SQLiteStorage(sqlite_path) as storage:
        before = storage.size_bytes()
        storage.put_checkpoint("agent", "x" * 100_000)
        assert storage.size_bytes() - before > 100_000
    assert sqlite_path.stat().st_size > 100_000


def test_agents_are_stored_densely(sqlite_path: Path) -> None:
    """Agents with 0.9 KB of state take at most 1.3 KB each on disk, indexes included."""
    count = 3000
    with SQLiteStorage(sqlite_path) as storage:
        for begin in range(0, count, 100):
            storage.commit(
                [put(f"counter/user-{begin + n}", "x" * 898, expected_rev=0) for n in range(100)]
            )
    assert sqlite_path.stat().st_size / count < 1300


def test_log_is_moved_into_the_file(sqlite_path: Path) -> None:
    """However much is written, the write-ahead log stays about as long as 1000 pages."""
    with SQLiteStorage(sqlite_path, synchronous="off") as storage:
        for number in range(20):
            storage.commit([put(f"agent {number} {n}", big(n)) for n in range(100)])
        assert storage.size_bytes() - sqlite_path.stat().st_size < 1.5 * 1000 * 8192


def test_log_stays_short_under_readers(sqlite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that never pause do not make the write-ahead log grow for ever."""
    monkeypatch.setattr(sqlite_file_module, "_MAX_WAL_BYTES", 1_000_000)
    monkeypatch.setattr(sqlite_file_module, "_WATCH_SECONDS", 0.0)
    keys = [f"agent {number}" for number in range(200)]
    done = threading.Event()
    with SQLiteStorage(sqlite_path, synchronous="off") as storage:
        storage.commit([put(key, big(0)) for key in keys])

        def read() -> None:
            while not done.is_set():
                storage.read(keys)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        longest = 0
        try:
            for number in range(30):
                storage.commit([put(key, big(number)) for key in keys])
                longest = max(longest, storage.size_bytes() - sqlite_path.stat().st_size)
        finally:
            done.set()
            for reader in readers:
                reader.join()
    assert longest < 12_000_000


def test_deleted_space_is_used_again(sqlite_path: Path) -> None:
    """After vacuum, new agents fill the room of the deleted ones (rule 4)."""
    with SQLiteStorage(sqlite_path) as storage:
        sizes: list[int] = []
        for generation in range(3):
            keys = [f"agent {generation} {number}" for number in range(200)]
            storage.commit([put(key, big(0)) for key in keys])
            for key in keys:
                storage.delete_checkpoint(key)
            assert storage.vacuum(-1) == 200
            with closing(sqlite3.connect(sqlite_path)) as connection:
                sizes += connection.execute("PRAGMA page_count").fetchone()
    assert sizes[2] < 1.2 * sizes[0]
