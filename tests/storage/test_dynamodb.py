"""What DynamoDB storage does beyond the contract, or does in its own way."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.places.dynamodb import DYNALITE, MOTO
from tests.storage.dynamodb_kit import Wire, all_items, damage_record, table_of
from torpor.storage import open_storage
from torpor.storage.dynamodb import DynamoDBStorage
from torpor.storage.dynamodb.errors import driver
from torpor.storage.dynamodb.items import SHARDS
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import Conflict, Record, Rejected, Saved, Space
from torpor.storage.testing.kit import (
    all_pages,
    append,
    checkpoint,
    owned,
    payloads,
    put,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage

TENTH = "x" * 200
"""A payload of which ten do not fit into a record."""


@pytest.fixture
def url(empty_place: Callable[[str], str]) -> str:
    """Return the URL of a new table."""
    return empty_place("dynamodb")


@pytest.fixture
def storage(url: str) -> Iterator[Storage]:
    """Return a storage in a new table."""
    with open_storage(url) as storage:
        yield storage


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    """Return a client of the test's own, and make the table."""
    open_storage(url).close()
    session = driver("botocore.session").get_session()
    client = session.create_client(
        "dynamodb", region_name="eu-west-1", endpoint_url=DYNALITE.server.endpoint
    )
    yield client
    client.close()


class Meanwhile(Wire):
    """Does something else before the first record is put."""

    def __init__(self, storage: Storage, something: Callable[[], object]) -> None:
        super().__init__(storage)
        self._something = something

    def before(self, operation: str) -> None:
        """Do it once."""
        if operation == "PutItem" and self.operations.count("PutItem") == 1:
            self._something()


# -- writers that meet ----------------------------------------------------------------------------


@pytest.mark.parametrize("expected_rev", [None, 1])
def test_loser_replaces_nothing_of_the_winner(
    url: str, storage: Storage, expected_rev: int | None
) -> None:
    """Both prepared the same places; the one who came second appends behind, or conflicts."""
    first = [f"first {number} {TENTH}" for number in range(9)]
    storage.commit([owned("agent", "agent#1", *first)])
    other, mine = [f"other {TENTH}"] * 12, [f"mine {TENTH}"] * 12
    with open_storage(url) as rival:
        change = owned("agent", "agent#1", *mine, value="mine", expected_rev=expected_rev)
        meanwhile = owned("agent", "agent#1", *other, value="other", wake_at=3.0)
        with Meanwhile(storage, lambda: rival.commit([meanwhile])):
            [outcome] = storage.commit([change])

        if expected_rev is None:
            assert isinstance(outcome, Saved)
            expected = [*first, *other, *mine]
        else:
            assert outcome == Conflict("agent", 1, 2)
            expected = [*first, *other]
        for either in (storage, rival):
            assert payloads(either.load_thread("agent#1")) == expected
            assert payloads(either.load_thread("agent#1", tail=15)) == expected[-15:]
        storage.commit([owned("agent", "agent#1", *mine)])
        assert payloads(rival.load_thread("agent#1")) == [*expected, *mine]


def test_one_who_lags_behind_a_deletion_harms_nothing(url: str, storage: Storage) -> None:
    """A thread made anew with its old id keeps its entries, though another was copying old ones."""
    old = [f"old {number} {TENTH}" for number in range(9)]
    new = [f"new {number} {TENTH}" for number in range(9)]
    storage.commit([owned("agent", "agent#1", *old)])
    with open_storage(url) as rival:

        def replace() -> None:
            rival.delete_checkpoint("agent")
            for _ in range(2):
                rival.commit([owned("agent", "agent#1", *new)])

        with Meanwhile(storage, replace):
            [outcome] = storage.commit([owned("agent", "agent#1", *old, expected_rev=1)])

    assert outcome == Conflict("agent", 1, 3)
    assert payloads(storage.load_thread("agent#1")) == new + new


def test_creation_during_a_vacuum_is_listed(url: str, storage: Storage) -> None:
    """What is created while its tombstone is being removed is in the listing (rule 4, rule 13)."""
    storage.put_checkpoint("agent", 1)
    storage.delete_checkpoint("agent")
    with open_storage(url) as rival:
        with Meanwhile(rival, lambda: storage.vacuum(-60)):
            rival.put_checkpoint("agent", 2)
        assert [record.key for record in all_pages(rival, Space.CHECKPOINTS)] == ["agent"]

        rival.delete_checkpoint("agent")

        class Recreate(Wire):
            """Creates the agent anew just before its place in the listing is removed."""

            def before(self, operation: str) -> None:
                """Do so between the removal of the tombstone and that of the place."""
                if operation == "DeleteItem" and self.operations.count("DeleteItem") == 2:
                    rival.put_checkpoint("agent", 3)

        with Recreate(storage) as wire:
            storage.vacuum(-60)
        assert wire.operations.count("DeleteItem") == 2
    assert [record.key for record in all_pages(storage, Space.CHECKPOINTS)] == ["agent"]


def test_lost_answer_is_no_conflict(storage: Storage) -> None:
    """A write that was done and sent again, as if not, is saved with all that is its own."""

    class Deaf(Wire):
        """Loses the first answer to a PutItem."""

        def after(self, operation: str) -> None:
            """Fail as if nobody had answered."""
            if operation == "PutItem" and self.operations.count("PutItem") == 1:
                raise driver("botocore.exceptions").ReadTimeoutError(endpoint_url="DynamoDB")

    change = owned("agent", "agent#1", "a", value="x" * 400_000, wake_at=5.0, expected_rev=0)
    with Deaf(storage) as wire:
        assert storage.commit([change]) == [Saved(1, storage.thread_head("agent#1"))]
    assert wire.operations.count("PutItem") == 2

    assert checkpoint(storage, "agent").value == "x" * 400_000
    assert [item.key for item in storage.list_due(9.0)] == ["agent"]
    assert payloads(storage.load_thread("agent#1")) == ["a"]


def test_storms_of_writers_lose_nothing(url: str) -> None:
    """Five writers append to one thread, a flood of entries each, from storages of their own."""

    def write(number: int) -> None:
        with open_storage(url) as storage:
            for part in range(3):
                storage.append_thread("log", [{"payload": [number, part, TENTH]}] * 5)

    together(*(partial(write, number) for number in range(5)))

    with open_storage(url) as storage:
        found = [tuple(payload[:2]) for payload in payloads(storage.load_thread("log"))]
        assert sorted(found) == sorted([(n, part) for n in range(5) for part in range(3)] * 5)
        newest = [tuple(payload[:2]) for payload in payloads(storage.load_thread("log", tail=50))]
        assert newest == found[-50:]


# -- sizes ----------------------------------------------------------------------------------------


def test_change_of_a_thousand_items(storage: Storage) -> None:
    """A change far over the 100 items and 4 MB of a transaction is one change (rule 1)."""
    entries = [f"{number} {'é' * 500}" for number in range(5000)]
    change = owned("agent", "agent#1", *entries, value="x" * 1_000_000, expected_rev=0)

    assert isinstance(storage.commit([change])[0], Saved)

    for _ in range(2):
        assert payloads(storage.load_thread("agent#1")) == entries
        assert payloads(storage.load_thread("agent#1", after=2999, limit=3)) == entries[3000:3003]
        storage.commit([owned("agent", "agent#1", "last", value="small")])
        entries.append("last")


@pytest.mark.parametrize("size", [300_000, 390_000, 900_000])
def test_document_over_the_size_of_an_item(storage: Storage, size: int) -> None:
    """Documents around and over 400 KB come back, and small ones after them (rule 10)."""
    value = "é" * (size // 2)
    storage.commit([owned("agent", "agent#1", value, "small", value=value)])
    storage.append_thread("log", {"payload": value}, metadata={"m": value})

    [record] = storage.read(["agent"])
    assert isinstance(record, Record)
    assert checkpoint(storage, "agent").value == value
    assert payloads(storage.load_thread("agent#1")) == [value, "small"]
    for _ in range(2):
        storage.commit([owned("agent", "agent#1", "after", value="small")])
        storage.append_thread("log", {"payload": "after"})
    assert checkpoint(storage, "agent").value == "small"
    assert payloads(storage.load_thread("agent#1")) == [value, "small", "after", "after"]
    assert payloads(storage.load_thread("agent#1", tail=4)) == [value, "small", "after", "after"]
    assert payloads(storage.load_thread("log", limit=1)) == [value]
    found = storage.thread_head("log")
    assert found is not None
    assert found.metadata == {"m": value}
    assert [item.key for item in storage.list_threads()] == ["log"]


def test_missing_piece_is_damage(storage: Storage) -> None:
    """A record of which a piece is gone is corrupt, and stays as it is (rule 8, rule 10)."""
    storage.put_checkpoint("agent", "x" * 500_000)
    client, table = table_of(storage)
    [piece, *_] = [item for item in all_items(storage) if item["pk"]["S"].startswith("body#")]
    client.delete_item(TableName=table, Key={name: piece[name] for name in ("pk", "sk")})

    before = all_items(storage)
    with pytest.raises(CorruptRecordError, match="a piece of it is missing"):
        storage.get_checkpoint("agent")
    [outcome] = storage.commit([put("agent", "new")])

    assert isinstance(outcome, Rejected)
    assert isinstance(outcome.error, CorruptRecordError)
    assert all_items(storage) == before


# -- cost -----------------------------------------------------------------------------------------


def test_change_costs_two_requests(storage: Storage) -> None:
    """One to read and one to write, entries included, nearly always (rule 7, rule 11)."""
    storage.commit([owned("agent", "agent#1", "a")])

    with Wire(storage) as wire:
        for number in range(5):
            storage.commit([owned("agent", "agent#1", number)])

    assert wire.operations == ["BatchGetItem", "PutItem"] * 5


def test_batch_costs_a_write_for_each_change(storage: Storage) -> None:
    """Only what has a condition has to be written one by one (rule 11)."""
    changes = [owned(f"agent {number}", f"agent {number}#1", TENTH) for number in range(100)]

    with Wire(storage) as wire:
        storage.commit(changes)

    assert {name: wire.operations.count(name) for name in set(wire.operations)} == {
        "BatchGetItem": 1,
        "BatchWriteItem": 4,  # places in the listing, 25 at a time
        "PutItem": 100,
    }


def test_listing_reads_no_entries_and_no_other_keys(storage: Storage) -> None:
    """A page costs its own records, whatever else is in the table (W-36)."""
    many = [f"entry {number} {TENTH}" for number in range(1000)]
    storage.commit([owned(f"user {number}", f"user {number}#1", *many) for number in range(5)])
    storage.commit([put(f"order {number}") for number in range(100)])

    with Wire(storage) as wire:
        page = storage.list_checkpoints("order 1", limit=5)

    assert [record.key for record in page] == ["order 1", "order 10", *_numbered(11, 14)]
    assert wire.operations == ["Query"] * SHARDS + ["BatchGetItem"]


def _numbered(first: int, stop: int) -> list[str]:
    return [f"order {number}" for number in range(first, stop)]


def test_tools_see_every_key(storage: Storage) -> None:
    """Those of corrupt records too, and of deleted ones if asked for (W-36)."""
    storage.commit([put(f"agent {number}", "text") for number in range(30)])
    storage.delete_checkpoint("agent 1")
    damage_record(storage, Space.CHECKPOINTS, "agent 2")

    keys = sorted(f"agent {number}" for number in range(30))
    assert list(storage.all_keys(Space.CHECKPOINTS, tombstones=True)) == keys
    keys.remove("agent 1")
    assert list(storage.all_keys(Space.CHECKPOINTS)) == keys


# -- clients --------------------------------------------------------------------------------------


def test_client_of_the_user_stays_open(client: Any) -> None:
    """Whoever opened a client closes it."""
    with DynamoDBStorage("test", client=client, create=True) as storage:
        assert storage.client is client
        storage.put_checkpoint("agent", 1)

    with DynamoDBStorage("test", client=client) as storage:
        assert checkpoint(storage, "agent").value == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_has_connections_of_its_own(storage: Storage) -> None:
    """Parent and child both go on (rule 13)."""
    storage.commit([put(f"agent {number}") for number in range(20)])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            storage.commit([put(f"child {number}") for number in range(20)])
            status = 0
        finally:
            os._exit(status)
    storage.commit([put(f"parent {number}") for number in range(20)])

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(all_pages(storage, Space.CHECKPOINTS)) == 60


def test_moto_agrees() -> None:
    """Another implementation of the protocol takes the same requests for the same."""
    with open_storage(MOTO.empty()) as storage:
        for _ in range(2):
            storage.commit([owned("agent", "agent#1", *[TENTH] * 9, wake_at=5.0)])
        assert storage.commit([put("agent", 2, expected_rev=1)]) == [Conflict("agent", 1, 2)]
        storage.commit([append("log", *range(300)), put("large", "x" * 500_000)])
        storage.delete_checkpoint("large")

        assert payloads(storage.load_thread("agent#1")) == [TENTH] * 18
        assert payloads(storage.load_thread("log", tail=2)) == [298, 299]
        assert [record.key for record in all_pages(storage, Space.CHECKPOINTS)] == ["agent"]
        assert [item.key for item in storage.list_due(9.0)] == ["agent"]
        assert storage.vacuum(-60) == 1
    MOTO.close()
