"""Batches of documents in place of others are written without being read first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.storage.sql_kit import count_statements
from tests.storage.sqlite_kit import connection_of, count_steps
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


def commit_counted(storage: Storage, revs: dict[str, int]) -> tuple[list[Outcome], int]:
    """Commit one batch to SQLite; return its outcomes and how many steps it took."""
    outcomes: list[Outcome] = []
    steps = count_steps(connection_of(storage), lambda: outcomes.extend(commit(storage, revs)))
    return outcomes, steps


def test_a_batch_of_replacements_is_one_statement_on_postgresql(
    empty_place: Callable[[str], str],
) -> None:
    """It decides, writes and commits; by steps it would be two in a transaction."""
    with open_storage(empty_place("postgresql")) as storage:
        commit(storage, dict.fromkeys(KEYS, 0))

        assert count_statements(storage, lambda: commit(storage, dict.fromkeys(KEYS, 1))) == 1


@pytest.mark.parametrize("count", [1, 2, 20])
def test_a_batch_of_documents_is_one_statement_on_sqlite(
    empty_place: Callable[[str], str], count: int
) -> None:
    """Be they new or in place of others: beside a busy thread each statement costs 5 ms."""
    with open_storage(empty_place("sqlite")) as storage:
        for rev in range(2):
            outcomes, steps = commit_counted(storage, dict.fromkeys(KEYS[:count], rev))
            assert outcomes == [Saved(rev + 1)] * count
            assert steps == 1


def test_a_batch_may_be_of_both_on_sqlite(empty_place: Callable[[str], str]) -> None:
    """New documents and replacements go by the same statement."""
    with open_storage(empty_place("sqlite")) as storage:
        commit(storage, dict.fromkeys(KEYS, 0))

        outcomes, steps = commit_counted(storage, {**dict.fromkeys(KEYS, 1), "new": 0})

        assert outcomes == [*[Saved(2)] * len(KEYS), Saved(1)]
        assert steps == 1


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


@pytest.mark.parametrize("rev", [1, 2])
def test_a_record_that_is_not_there_is_not_replaced(storage: Storage, rev: int) -> None:
    """What was removed without a trace does not come back with what somebody knew of it."""
    commit(storage, {"a": 0})

    gone, other = commit(storage, {"missing": rev, "a": 1})

    assert gone == Conflict("missing", expected=rev, found=0)
    assert other == Saved(2)
    assert storage.read(["missing"]) == [None]


def test_a_record_that_is_there_is_not_created(storage: Storage) -> None:
    """The others of its batch are."""
    commit(storage, {"a": 0}, '{"first":1}')

    taken, other = commit(storage, {"a": 0, "b": 0})

    assert taken == Conflict("a", expected=0, found=1)
    assert other == Saved(1)
    [record] = storage.read(["a"])
    assert isinstance(record, Record)
    assert record.data == '{"first":1}'
