"""A large store moves from SQLite to PostgreSQL and back, and paging stays fast in a huge one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from torpor.storage import Change, Entry, Put, Space, ThreadWrite, open_storage
from torpor.storage.transfer import Export, copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torpor.storage import Storage

AGENTS = 100_000
ENTRIES = 4
MILLION = 1_000_000
_DATA = '{"text":"' + "x" * 480 + '","number":%d}'


def _agents(count: int, *, entries: int) -> Iterator[list[Change]]:
    """Yield batches of agents of 0.5 KB with threads of entries of 60 bytes."""
    for begin in range(0, count, 1000):
        yield [
            Change(
                key=f"cart/{number:07d}",
                put=Put(data=_DATA % number, kind="cart"),
                thread=ThreadWrite(
                    id=f"cart/{number:07d}#1",
                    entries=tuple(
                        Entry(kind="note", payload={"n": seq, "t": "y" * 40}, at=1.5, id=f"e{seq}")
                        for seq in range(entries)
                    ),
                )
                if entries
                else None,
                at=1000.0,
            )
            for number in range(begin, min(count, begin + 1000))
        ]


def _fill(storage: Storage, count: int, *, entries: int) -> None:
    for batch in _agents(count, entries=entries):
        storage.commit(batch)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_hundred_thousand_agents_there_and_back(
    tmp_path: Path,
    empty_place: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From SQLite to PostgreSQL and back to SQLite: the same export, byte for byte."""
    urls = [f"sqlite:///{tmp_path}/a.db", empty_place("postgresql"), f"sqlite:///{tmp_path}/b.db"]
    exports = [tmp_path / "first.jsonl", tmp_path / "last.jsonl"]
    times: list[str] = []

    def timed(what: str, work: Callable[[], object]) -> None:
        begin, busy = time.perf_counter(), time.process_time()
        work()
        seconds, busy = time.perf_counter() - begin, time.process_time() - busy
        times.append(f"{what} {seconds:.1f} s ({busy:.1f} s of this process)")

    with open_storage(urls[0]) as first, open_storage(urls[1]) as server:
        timed("fill", lambda: _fill(first, AGENTS, entries=ENTRIES))
        timed("export of SQLite", lambda: _write(first, exports[0]))
        timed("SQLite to PostgreSQL", lambda: copy(first, server))
        with open_storage(urls[2]) as last:
            timed("PostgreSQL to SQLite", lambda: copy(server, last))
            timed("export of SQLite", lambda: _write(last, exports[1]))
    with capsys.disabled():
        size = exports[0].stat().st_size / 1e6
        print(f"\n{AGENTS} agents, {AGENTS * ENTRIES} entries, {size:.0f} MB:", "; ".join(times))  # noqa: T201 - the figures of this test

    assert exports[0].read_bytes() == exports[1].read_bytes()


def _write(storage: Storage, path: Path) -> None:
    with path.open("wb") as file:
        file.writelines(Export(storage))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_pages_of_a_million(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last page of a million agents holds what it should; how long each took is printed."""
    with open_storage(f"sqlite:///{tmp_path}/store.db") as storage:
        _fill(storage, MILLION, entries=0)
        times: list[float] = []
        last_key, cursor = "", None
        while not times or cursor is not None:
            begin = time.perf_counter()
            page = storage.list_checkpoints("cart/", cursor=cursor, limit=100)
            times.append(time.perf_counter() - begin)
            last_key, cursor = page.items[-1].key, page.cursor
        begin = time.perf_counter()
        keys = sum(1 for _ in storage.all_keys(Space.CHECKPOINTS))
        counting = time.perf_counter() - begin
    with capsys.disabled():
        first, last = (sum(some) / len(some) * 1e3 for some in (times[:100], times[-100:]))
        print(  # noqa: T201 - the figures of this test
            f"\n{MILLION} agents: a page of 100 takes {first:.2f} ms at the beginning and "
            f"{last:.2f} ms at the end; counting the keys {counting:.1f} s"
        )

    assert len(times) == MILLION // 100
    assert last_key == f"cart/{MILLION - 1:07d}"
    assert keys == MILLION
