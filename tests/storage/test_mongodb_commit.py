"""How MongoDB storage keeps a change whole without transactions: crashes, races, round trips.

Run against the stand-in that ``tests.servers.mongodb`` describes.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.mongodb_kit import (
    after_fencing,
    before_publishing,
    collection,
    failing,
    hurry,
    leave_stray,
    watched,
)
from torpor.storage.errors import StorageUnavailableError, ThreadMismatchError
from torpor.storage.mongodb import MongoDBStorage
from torpor.storage.records import Change, Conflict, Record, Rejected, Saved
from torpor.storage.testing.kit import append, checkpoint, head_of, owned, payloads, put, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WRITING = ("find", "insert", "update", "delete")


@pytest.fixture
def url(empty_place: Callable[[str], str]) -> str:
    """Return the URL of an empty store."""
    return empty_place("mongodb")


@pytest.fixture
def storage(url: str) -> Iterator[MongoDBStorage]:
    """Return a storage on it."""
    with MongoDBStorage.from_url(url) as storage:
        yield storage


@pytest.fixture
def rival(url: str) -> Iterator[MongoDBStorage]:
    """Return another storage on the same store."""
    with MongoDBStorage.from_url(url) as storage:
        yield storage


# -- a crash between two steps --------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(5))
def test_crash_after_each_step(url: str, storage: MongoDBStorage, steps: int) -> None:
    """Whoever dies after any step leaves the old or the new, and nobody is in the way (rule 1).

    The change has all four steps: it drops the thread that the record had, and begins another.
    """
    storage.commit([owned("agent", "agent#1", "a", "b", value="old")])
    change = owned("agent", "agent#2", "c", "d", value="new", expected_rev=1)

    with MongoDBStorage.from_url(url) as dying:
        hurry(dying, 0.3)
        with failing(*_WRITING, mode={"skip": steps}, closeConnection=True):
            try:
                dying.commit([change])
                survived = True
            except StorageUnavailableError:
                survived = False

    assert survived is (steps >= 3)  # what is left to do then is only tidying up
    found = checkpoint(storage, "agent")
    assert found.thread is not None
    seen = (found.value, found.rev, found.thread.id, payloads(storage.load_thread(found.thread.id)))
    if survived:
        assert seen == ("new", 2, "agent#2", ["c", "d"])
    else:
        assert seen == ("old", 1, "agent#1", ["a", "b"])
        assert storage.load_thread("agent#2") is None
    assert storage.commit([change])[0] == Saved(2, head_of(storage, "agent#2"))
    storage.commit([owned("agent", "agent#2", "e", value="newer", expected_rev=2)])
    assert payloads(storage.load_thread("agent#2")) == ["c", "d", "e"]


@pytest.mark.parametrize("seed", range(2))
def test_crashes_at_random(url: str, storage: MongoDBStorage, seed: int) -> None:
    """Writers that die anywhere leave each change whole or not at all, and resends apply once."""
    chance = random.Random(seed)
    expected: list[int] = []
    with MongoDBStorage.from_url(url) as dying:
        hurry(dying, 0.1)
        for number in range(25):
            entries = [number] * chance.randrange(1, 4)
            thread_id = f"agent#{number // 10}"  # every tenth change begins a new thread
            change = owned("agent", thread_id, *entries, value=number)
            known = expected if number % 10 else []
            how: dict[str, Any] = {"mode": {"skip": chance.randrange(5)}, "closeConnection": True}
            with failing(*_WRITING, **how), suppress(StorageUnavailableError):
                dying.commit([change])
            if found := storage.get_checkpoint("agent"):
                assert found.value in {number - 1, number}
                assert found.thread is not None
                stored = payloads(storage.load_thread(found.thread.id))
                assert stored == (known + entries if found.value == number else expected)
            if chance.random() < 0.5:
                assert isinstance(storage.commit([change])[0], Saved)
            elif found is None or found.value != number:
                entries = [number]
                other = owned("agent", thread_id, number, value=number)
                assert isinstance(storage.commit([other])[0], Saved)
            expected = known + entries
            assert payloads(storage.load_thread(thread_id)) == expected


def test_entries_of_a_dead_writer_are_replaced(storage: MongoDBStorage) -> None:
    """Who died before its head did not block the thread, whatever it left there (rule 6)."""
    storage.append_thread("log", {"payload": 0})
    incarnation = collection("entries").find_one({"thread": "log"})
    assert incarnation is not None
    for seq in (1, 3):
        leave_stray("log", seq, incarnation=incarnation["incarnation"])

    storage.append_thread("log", [{"payload": 1}, {"payload": 2}])
    storage.append_thread("log", [{"payload": 3}])

    assert payloads(storage.load_thread("log")) == [0, 1, 2, 3]


def test_entries_of_a_dead_creator_are_replaced(storage: MongoDBStorage) -> None:
    """Not even the first entry of a thread can be blocked (rule 6)."""
    leave_stray("log", 0)

    assert storage.append_thread("log", {"payload": "a"}, expected_rev=0).rev == 1

    assert payloads(storage.load_thread("log")) == ["a"]
    assert collection("threads").count_documents({}) == 1


def test_vacuum_removes_what_the_dead_left(storage: MongoDBStorage) -> None:
    """Strays that are old enough go; what a head covers stays, and what is young (rule 4)."""
    storage.append_thread("log", [{}, {}])
    storage.commit([owned("agent", "agent#1", "a")])
    found = collection("entries").find_one({"thread": "log"})
    assert found is not None
    leave_stray("log", 2, incarnation=found["incarnation"])
    leave_stray("agent#0", 0)
    leave_stray("gone", 7)
    leave_stray("young", 7, written_at=time.time())
    collection("entries").update_many({"etag": {"$ne": "of the dead"}}, {"$set": {"written_at": 0}})

    storage.vacuum(0)

    left = [(item["thread"], item["seq"]) for item in collection("entries").find(sort=[("_id", 1)])]
    assert left == [("agent#1", 0), ("log", 0), ("log", 1), ("young", 7)]


def test_vacuum_leaves_alone_what_it_cannot_read(storage: MongoDBStorage) -> None:
    """The entries of a damaged record may be needed to repair it (rule 10)."""
    storage.commit([owned("agent", "agent#1", "a")])
    collection("checkpoints").update_one({"_id": "agent"}, {"$set": {"thread": None}})
    collection("entries").update_many({}, {"$set": {"written_at": 0.0}})

    storage.vacuum(0)

    assert collection("entries").count_documents({}) == 1


# -- two writers ----------------------------------------------------------------------------------


def test_reader_never_sees_half_a_change(storage: MongoDBStorage, rival: MongoDBStorage) -> None:
    """Whoever reads while an owner writes sees the record with all its entries (rule 1)."""
    storage.commit([owned("agent", "agent#1", 0, value=1)])
    done = threading.Event()

    def write() -> None:
        try:
            for number in range(1, 40):
                storage.commit([owned("agent", "agent#1", number, value=number + 1)])
        finally:
            done.set()

    def read() -> None:
        while not done.is_set():
            [record] = rival.read(["agent"])
            assert isinstance(record, Record)
            assert record.thread is not None
            assert record.data == str(record.thread.rev)
            entries = rival.read_entries("agent#1", 0, record.thread.rev)
            assert [entry.payload for entry in entries] == list(range(record.thread.rev))

    together(write, read)

    assert head_of(storage, "agent#1").rev == 40


def test_slow_writer_loses_to_a_rival(storage: MongoDBStorage, rival: MongoDBStorage) -> None:
    """Both had their entries ready for the same places: the one that publishes has them (rule 6).

    The slow one then appends behind.
    """
    storage.append_thread("log", {"payload": 0})
    before_publishing(
        storage,
        lambda: rival.append_thread("log", [{"payload": "rival"}, {"payload": "rival too"}]),
    )

    storage.append_thread("log", [{"payload": "slow"}, {"payload": "slow too"}])

    expected = [0, "rival", "rival too", "slow", "slow too"]
    assert payloads(storage.load_thread("log")) == expected


def test_slow_writer_that_expects_a_revision_conflicts(
    storage: MongoDBStorage, rival: MongoDBStorage
) -> None:
    """Overtaken between entries and record it writes nothing, and its neighbours do (rule 2)."""
    storage.commit([owned("agent", "agent#1", 0)])
    before_publishing(storage, lambda: rival.commit([owned("agent", "agent#1", "rival")]))

    late, neighbour = storage.commit(
        [owned("agent", "agent#1", "late", expected_rev=1), put("neighbour")]
    )

    assert late == Conflict("agent", 1, 2)
    assert isinstance(neighbour, Saved)
    assert payloads(storage.load_thread("agent#1")) == [0, "rival"]
    assert collection("entries").count_documents({"thread": "agent#1"}) == 2


def test_slow_creator_loses_to_a_rival(storage: MongoDBStorage, rival: MongoDBStorage) -> None:
    """Two that begin the same thread make one of it (rule 5)."""
    before_publishing(storage, lambda: rival.append_thread("log", {"payload": "rival"}))

    storage.append_thread("log", {"payload": "slow"})

    assert payloads(storage.load_thread("log")) == ["rival", "slow"]


def test_taking_a_place_spares_who_came_later(
    storage: MongoDBStorage, rival: MongoDBStorage
) -> None:
    """The stray's place may belong to somebody else when it is to be replaced (rule 6).

    Its writer was alive, lost, and tidied up; then a rival appended there and published.
    """
    storage.append_thread("log", {"payload": 0})
    leave_stray("log", 1)

    def rival_comes() -> None:
        collection("entries").delete_one({"etag": "of the dead"})
        rival.append_thread("log", {"payload": "rival"})

    after_fencing(storage, rival_comes)

    storage.append_thread("log", {"payload": "late"})

    assert payloads(storage.load_thread("log")) == [0, "rival", "late"]


def test_entries_of_a_standalone_thread_are_not_taken(storage: MongoDBStorage) -> None:
    """An agent that is given the id of such a thread is refused, and the thread is whole."""
    storage.append_thread("agent#1", {"payload": "mine"})

    [outcome] = storage.commit([owned("agent", "agent#1", "stolen")])

    assert isinstance(outcome, Rejected)
    assert isinstance(outcome.error, ThreadMismatchError)
    assert storage.get_checkpoint("agent") is None
    assert payloads(storage.load_thread("agent#1")) == ["mine"]


# -- round trips ----------------------------------------------------------------------------------


def test_batch_takes_three_round_trips(url: str) -> None:
    """However many changes, one each to read, for entries, for records (rule 11)."""
    keys = [f"agent {number}" for number in range(200)]
    with watched(url) as (storage, log):
        created = log.of(lambda: storage.commit([owned(key, f"{key}#1", 1) for key in keys]))
        changed = log.of(lambda: storage.commit([owned(key, f"{key}#1", 2) for key in keys]))
        plain = log.of(lambda: storage.commit([put(key, 3) for key in keys]))
        read = log.of(lambda: storage.read(keys))
        deleted = log.of(lambda: storage.commit([Change(key=key, delete=True) for key in keys]))

    assert created == changed == ["find", "insert", "update"]
    assert plain == ["find", "update"]
    assert read == ["find", "find"]
    assert deleted == ["find", "update", "delete"]


def test_history_costs_no_round_trip(url: str) -> None:
    """The two thousandth entry is appended, and the last ones are read, as the tenth (rule 7)."""
    with watched(url) as (storage, log):
        for thread_id, count in (("short", 10), ("long", 2000)):
            storage.append_thread(thread_id, ({"payload": n} for n in range(count)))
        sizes: dict[str, list[int]] = {}
        for thread_id in ("short", "long"):
            names = log.of(lambda: storage.commit([append(thread_id, "x")]))  # noqa: B023 - at once
            assert names == ["find", "insert", "update"]
            sizes[thread_id] = [len(str(command)) for command in log.commands]
            names = log.of(lambda: storage.read_entries(thread_id, 5, 10))  # noqa: B023
            assert names == ["find"]

    assert sizes["long"] == pytest.approx(sizes["short"], rel=0.1)
