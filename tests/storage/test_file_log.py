"""The entries file of a file storage: torn, damaged, long, trimmed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor.storage.errors import (
    CorruptRecordError,
    MissingThreadError,
    StorageError,
    StorageFullError,
    ThreadMismatchError,
)
from torpor.storage.file import FileStorage
from torpor.storage.file.layout import Layout, hash_of
from torpor.storage.file.log import EntryLog
from torpor.storage.records import Rejected, Saved
from torpor.storage.testing.kit import (
    append,
    checkpoint,
    entries_of,
    head_of,
    owned,
    payloads,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRIES = ["first", "é" * 5, "", {"text": "line\nfeed"}]


@pytest.fixture
def log(file: FileStorage) -> Path:
    """Return the log of a thread of ``ENTRIES``, behind which two more were written in vain."""
    file.commit([owned("agent", "agent#1", *ENTRIES)])
    head = head_of(file, "agent#1")
    log = EntryLog(Layout(file.path), "agent#1")
    log.append(head, _lines(log, head.rev, "lost", "lost too"))
    return log.path


def test_entries_beyond_the_head_are_overwritten(file: FileStorage, log: Path) -> None:
    """What a crash left behind the head is not seen, and the next append replaces it (W-9)."""
    assert payloads(file.load_thread("agent#1")) == ENTRIES

    file.commit([owned("agent", "agent#1", "next")])

    assert payloads(file.load_thread("agent#1")) == [*ENTRIES, "next"]
    assert b"lost" not in log.read_bytes()


def test_log_torn_behind_the_head(file: FileStorage, log: Path) -> None:
    """Torn at any byte that no head covers, a log is read and continued as before (W-9)."""
    whole = log.read_bytes()
    head = head_of(file, "agent#1")
    covered = whole[: whole.index(b'{"seq":4')]
    for size in range(len(covered), len(whole)):
        log.write_bytes(whole[:size])
        assert payloads(file.load_thread("agent#1")) == ENTRIES

        entries = EntryLog(Layout(file.path), "agent#1")
        lines = _lines(entries, head.rev, "next")
        entries.append(head, lines)

        assert log.read_bytes() == covered + lines


def test_log_torn_before_the_head(file: FileStorage, log: Path) -> None:
    """Torn at any byte that the head covers, what is whole is read, and no more (W-9)."""
    whole = log.read_bytes()
    for size in range(whole.index(b'{"seq":4')):
        log.write_bytes(whole[:size])
        kept = whole[:size].count(b"\n")

        found = file.read_entries("agent#1", 0, kept)

        assert [entry.payload for entry in found] == ENTRIES[:kept]
        _require_damage(file, log, ThreadMismatchError if kept else MissingThreadError)


def test_lost_log_is_damage(file: FileStorage, log: Path) -> None:
    """A log that is gone is neither taken for an empty one nor made anew (rule 8, W-9)."""
    log.unlink()

    _require_damage(file, log, MissingThreadError)


@given(place=st.integers(0, 10_000), change=st.integers(1, 255))
def test_any_damaged_byte_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int
) -> None:
    """Whatever byte changes, only what was written is read, and the rest still is (rule 10)."""
    with FileStorage(tmp_path_factory.mktemp("store"), fsync=False) as file:
        file.append_thread("log", [{"payload": number, "id": f"{number}"} for number in range(9)])
        log = _path(file, "log")
        content = bytearray(log.read_bytes())
        place %= len(content)
        broken = content[:place].count(b"\n")
        content[place] ^= change
        log.write_bytes(content)

        for start in range(9):
            for stop in range(start + 1, 10):
                try:
                    found = file.read_entries("log", start, stop)
                except CorruptRecordError:
                    assert start <= broken + 1, "a lost line feed breaks two lines, not more"
                    assert stop > broken
                else:
                    assert [entry.payload for entry in found] == list(range(start, stop))
                    assert not start <= broken < stop


def test_failed_creation_leaves_nothing_behind(
    file: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries of a first append that never came to its end do not poison the next (W-9)."""

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        with pytest.raises(StorageFullError):
            file.commit([append("log", "lost", "lost too")])
    assert b"lost too" in _path(file, "log").read_bytes()
    assert file.load_thread("log") is None

    file.append_thread("log", {"payload": "first"}, expected_rev=0)

    assert payloads(file.load_thread("log")) == ["first"]


def test_cost_of_appending_does_not_grow(file: FileStorage) -> None:
    """Behind 100,000 entries an append moves hardly more bytes than behind 100 (rule 7, W-32)."""
    for name, count in (("short", 100), ("long", 100_000)):
        file.append_thread(name, [{"payload": number} for number in range(count)])

    short = _traffic(lambda: file.append_thread("short", {"payload": "next"}))
    long = _traffic(lambda: file.append_thread("long", {"payload": "next"}))

    assert long < short + 15_000
    assert _path(file, "long").stat().st_size > 200 * (short + 15_000)
    assert head_of(file, "long").rev == 100_001


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ({"tail": 3}, 19_997),
        ({"tail": 3, "kinds": ["note"]}, 19_997),
        ({"after": 7_000, "limit": 3}, 7_001),
        ({"limit": 3}, 0),
    ],
    ids=["tail", "tail of a kind", "middle", "begin"],
)
def test_parts_are_read_alone(file: FileStorage, query: dict[str, Any], first: int) -> None:
    """A part of a long thread is read without the rest, wherever it is (rule 7, TH-34)."""
    file.append_thread("log", [{"payload": number} for number in range(20_000)])

    def read() -> None:
        assert payloads(file.load_thread("log", **query)) == [first, first + 1, first + 2]

    assert _traffic(read) < 200_000 < _path(file, "log").stat().st_size / 10


def test_trimmed_entries_give_their_room_back(file: FileStorage) -> None:
    """A thread that is trimmed all the time stays small, and is seldom rewritten (rule 7)."""
    size = 0
    before = _written()
    for number in range(300):
        file.append_thread("log", {"payload": "x" * 1000})
        file.trim_thread("log", number - 20)
        size = max(size, _path(file, "log").stat().st_size)

    assert size < 50 * 1200
    assert _written() - before < 300 * 4 * 1200
    assert len(payloads(file.load_thread("log"))) == 21
    file.trim_thread("log", 1000)
    assert not _path(file, "log").exists()
    assert file.append_thread("log", {"payload": "next"}).start == 300


def test_damaged_log_is_not_trimmed(file: FileStorage, log: Path) -> None:
    """Bytes that cannot be read are not rewritten either (rule 10)."""
    lines = log.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"entry", b"Entry")
    log.write_bytes(b"".join(lines[:4]))

    assert isinstance(file.commit([owned("agent", "agent#1", trim_before=2)])[0], Saved)

    assert log.read_bytes() == b"".join(lines[:4])


def _require_damage(file: FileStorage, log: Path, thawing: type[StorageError]) -> None:
    """Check that a log without its newest entries is told of, and left as it is."""
    before = log.read_bytes() if log.exists() else None
    queries: list[dict[str, Any]] = [
        {},
        {"kinds": ["note"]},
        {"kinds": ["note"], "tail": 9},
        {"tail": 1},
    ]
    for query in queries:
        with pytest.raises(CorruptRecordError):
            file.load_thread("agent#1", **query)
    assert type(file.read(["agent"])[0]) is thawing

    [outcome] = file.commit([owned("agent", "agent#1", "lost")])

    assert isinstance(outcome, Rejected)
    assert isinstance(outcome.error, MissingThreadError | ThreadMismatchError)
    assert (log.read_bytes() if log.exists() else None) == before
    assert checkpoint(file, "agent").rev == 1


def _path(storage: FileStorage, thread_id: str) -> Path:
    return storage.path / "threads" / hash_of(thread_id) / "entries.jsonl"


def _lines(log: EntryLog, first: int, *contents: Any) -> bytes:
    entries = enumerate(entries_of(contents), start=first)
    return log.lines_of([replace(entry, seq=seq) for seq, entry in entries])


def _traffic(job: Callable[[], object]) -> int:
    """Return how many bytes ``job`` reads and writes."""
    before = _moved("rchar") + _moved("wchar")
    job()
    return _moved("rchar") + _moved("wchar") - before


def _written() -> int:
    return _moved("wchar")


def _moved(counter: str) -> int:
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("only Linux counts the bytes that a process moves")
    lines = dict(line.split(": ") for line in counters.read_text().splitlines())
    return int(lines[counter])
