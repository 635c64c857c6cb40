"""What a page costs does not depend on how many agents there are: counted, not timed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from torpor.storage import Change, Put, Space, ThreadWrite, open_storage
from torpor.storage.sqlite import statements
from torpor.storage.testing.kit import entries_of

if TYPE_CHECKING:
    from pathlib import Path

FEW, MANY = 300, 6_000


def _steps(path: Path, statement: str, parameters: tuple[object, ...]) -> int:
    """Return how many instructions of SQLite's machine a statement takes."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with closing(sqlite3.connect(path)) as connection:
        connection.set_progress_handler(count, 1)
        connection.execute(statement, parameters).fetchall()
    return steps


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a small store and one that is twenty times as large."""
    paths: list[Path] = []
    for count in (FEW, MANY):
        path = tmp_path_factory.mktemp("store") / "store.db"
        with open_storage(f"sqlite:///{path}") as storage:
            for begin in range(0, count, 500):
                storage.commit(
                    [
                        Change(
                            key=f"cart/{number:06d}",
                            put=Put(data="1"),
                            thread=ThreadWrite(
                                id=f"cart/{number:06d}#1", entries=entries_of(range(3))
                            ),
                        )
                        for number in range(begin, min(count, begin + 500))
                    ]
                )
        paths.append(path)
    return paths


@pytest.mark.parametrize("place", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("listing", ["records", "keys", "all keys", "threads"])
def test_page_costs_the_same(stores: list[Path], listing: str, place: float) -> None:
    """Of a small and of a large store, at the beginning and near the end."""
    found: list[int] = []
    for path, count in zip(stores, (FEW, MANY), strict=True):
        after = f"cart/{int(count * place):06d}".encode()
        statement, parameters = {
            "records": (
                statements.list_records(Space.CHECKPOINTS),
                (after, "cart/\U0010ffff", 20),
            ),
            "keys": (statements.list_keys(Space.CHECKPOINTS, tombstones=False), (after, 20)),
            "all keys": (statements.list_keys(Space.CHECKPOINTS, tombstones=True), (after, 20)),
            "threads": (statements.LIST_THREADS, (after, 20)),
        }[listing]
        found.append(_steps(path, statement, parameters))

    few, many = found
    assert few > 50
    assert many <= few * 1.1


def test_counting_reads_keys_alone(stores: list[Path]) -> None:
    """All keys come from the index: no state is read."""
    with closing(sqlite3.connect(stores[0])) as connection:
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN {statements.list_keys(Space.CHECKPOINTS, tombstones=True)}",
            (b"", 10),
        ).fetchall()

    assert any("COVERING INDEX" in row[3] for row in plan)
