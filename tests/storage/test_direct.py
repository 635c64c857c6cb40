"""Batches of documents in place of others are written without being read first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.storage.sql_kit import count_statements
from torpor.storage import (
    Change,
    Conflict,
    Entry,
    Put,
    Record,
    Saved,
    ThreadWrite,
    open_storage,
)
from torpor.storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage
    from torpor.storage.records import Outcome

KEYS = [f"{number}" for number in range(20)]


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return an empty storage that can do that."""
    with open_storage(empty_place(request.param)) as storage:
        yield storage


def change(key: str, rev: int, data: str = "{}") -> Change:
    """Return a change of a document."""
    return Change(key=key, expected_rev=rev, put=Put(data=data, kind="k", version=1), at=1.0)


def commit(storage: Storage, revs: dict[str, int], data: str = "{}") -> list[Outcome]:
    """Commit one batch."""
    return storage.commit([change(key, rev, data) for key, rev in revs.items()])


def test_a_batch_of_replacements_is_one_statement_on_postgresql(
    empty_place: Callable[[str], str],
) -> None:
    """It decides, writes and commits; by steps it would be two in a transaction."""
    with open_storage(empty_place("postgresql")) as storage:
        commit(storage, dict.fromkeys(KEYS, 0))

        assert count_statements(storage, lambda: commit(storage, dict.fromkeys(KEYS, 1))) == 1


def test_a_batch_of_replacements_reads_nothing_on_sqlite(
    empty_place: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither do one that creates records, and one of both."""
    with open_storage(empty_place("sqlite")) as storage:
        assert isinstance(storage, SQLiteStorage)
        monkeypatch.setattr("torpor.storage.sqlite.commit._stored", None)
        commit(storage, dict.fromkeys(KEYS, 0))

        outcomes = commit(storage, {**dict.fromkeys(KEYS, 1), "new": 0})

        assert outcomes == [*[Saved(2)] * len(KEYS), Saved(1)]


def test_one_that_is_stale_hinders_no_other(storage: Storage) -> None:
    """It conflicts; the others are written, each once."""
    commit(storage, dict.fromkeys(KEYS, 0))
    commit(storage, {"3": 1})

    outcomes = commit(storage, dict.fromkeys(KEYS, 1), '{"a":1}')

    stale = KEYS.index("3")
    assert outcomes[stale] == Conflict("3", expected=1, found=2)
    del outcomes[stale]
    assert outcomes == [Saved(2)] * (len(KEYS) - 1)
    stored = storage.read(KEYS)
    assert [isinstance(record, Record) and record.rev for record in stored] == [2] * len(KEYS)


def test_a_thread_is_kept_by_what_replaces_its_owner(storage: Storage) -> None:
    """A record with a thread is written by steps, in one batch with others that have none."""
    commit(storage, dict.fromkeys(KEYS, 0))
    entry = Entry(kind="note", payload=1, at=1.0, id="first")
    begun = ThreadWrite(id="owner#1", entries=(entry,))
    put = Put(data="{}", kind="k", version=1)
    [saved] = storage.commit([Change(key="owner", expected_rev=0, put=put, thread=begun, at=1.0)])
    assert isinstance(saved, Saved)

    outcomes = commit(storage, {**dict.fromkeys(KEYS, 1), "owner": 1})

    assert all(isinstance(outcome, Saved) for outcome in outcomes)
    [owner] = storage.read(["owner"])
    assert isinstance(owner, Record)
    assert owner.thread == saved.thread


@pytest.mark.parametrize("keys", [["a"], ["a", "b"]])
def test_what_was_written_already_is_not_written_again(storage: Storage, keys: list[str]) -> None:
    """The same changes sent twice, as after a lost answer, are saved once."""
    commit(storage, dict.fromkeys(keys, 0))
    changes = [change(key, 1) for key in keys]
    first = storage.commit(changes)

    assert storage.commit(changes) == first == [Saved(2)] * len(keys)


def test_a_deleted_record_is_not_replaced(storage: Storage) -> None:
    """Its revision stands, but there is nothing any more that the writer could know."""
    commit(storage, {"a": 0, "b": 0})
    storage.commit([Change(key="a", expected_rev=1, delete=True, at=1.0)])

    gone, other = commit(storage, {"a": 1, "b": 1})

    assert gone == Conflict("a", expected=1, found=0)
    assert other == Saved(2)
