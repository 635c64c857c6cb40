"""One clear error of the tree for each thing that can be wrong with DynamoDB."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.places.dynamodb import DYNALITE
from tests.storage.dynamodb_kit import Wire, answer_of, drop_table, refusal, table_of
from torpor.storage import open_storage
from torpor.storage.dynamodb import DynamoDBStorage
from torpor.storage.dynamodb.items import TABLE_KEY, place
from torpor.storage.errors import (
    ConfigurationError,
    InvalidKeyError,
    MissingDriverError,
    RecordTooLargeError,
    SchemaVersionError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from torpor.storage.records import Change, Rejected, Space
from torpor.storage.testing.kit import (
    PATIENCE,
    all_pages,
    checkpoint,
    owned,
    payloads,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage

REGION = "region=eu-west-1"


@pytest.fixture
def url(empty_place: Callable[[str], str]) -> str:
    """Return the URL of a new table."""
    return empty_place("dynamodb")


@pytest.fixture
def storage(url: str) -> Iterator[Storage]:
    """Return a storage in a new table."""
    with open_storage(url) as storage:
        yield storage


class Refusing(Wire):
    """Answers some requests in the server's place."""

    def __init__(
        self, storage: Storage, *answers: Any, operation: str = "", always: bool = False
    ) -> None:
        super().__init__(storage)
        self._answers = list(answers)
        self._operation = operation
        self._always = always

    def before(self, operation: str) -> Any:
        """Return the next answer."""
        if self._answers and operation.startswith(self._operation):
            return self._answers[0] if self._always else self._answers.pop(0)
        return None


# -- what is wrong from the beginning -------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("dynamodb://", "a table has a name"),
        ("dynamodb://a", "a table has a name"),
        ("dynamodb://a table?region=x", "a table has a name"),
        (f"dynamodb://table/path?{REGION}", "write dynamodb://table"),
        (f"dynamodb://me:secret@table?{REGION}", "credentials are boto3's"),
        (f"dynamodb://table?{REGION}&create=perhaps", "no such option or value"),
        (f"dynamodb://table?{REGION}&timeout=soon", "no such option or value"),
        (f"dynamodb://table?{REGION}&timeout=0", "timeout is a number"),
        (f"dynamodb://table?{REGION}&concurrency=0", "concurrency is at least 1"),
        (f"dynamodb://table?{REGION}&colour=blue", "no such option or value"),
        (f"dynamodb://table?{REGION}&endpoint_url=nowhere", "nowhere"),
    ],
)
def test_wrong_urls_are_refused(url: str, said: str) -> None:
    """What can't work is told before anybody is asked, and without secrets (CP-10)."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


def test_unknown_option_is_refused() -> None:
    """An option that the class has not is the caller's error."""
    with pytest.raises(ConfigurationError, match="colour"):
        open_storage(f"dynamodb://table?{REGION}", colour="blue")


def test_settings_of_a_client_are_its_own(storage: Storage) -> None:
    """A region beside a client would be ignored, so it is refused."""
    client, table = table_of(storage)
    with pytest.raises(ConfigurationError, match="client's own"):
        DynamoDBStorage(table, client=client, region="eu-west-1")


def test_missing_region_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a region there is no server to ask."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigurationError, match="region"):
        DynamoDBStorage("table")


def test_missing_credentials_are_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to set."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigurationError, match="needs credentials: set AWS_ACCESS_KEY_ID"):
        open_storage(url)


@pytest.mark.parametrize(
    "code", ["UnrecognizedClientException", "AccessDeniedException", "ExpiredTokenException"]
)
def test_wrong_credentials_are_told(storage: Storage, code: str) -> None:
    """When it is opened they are a matter of configuration, later an error that is not retried."""
    client, table = table_of(storage)
    with (
        Refusing(storage, refusal(code), operation="DescribeTable"),
        pytest.raises(ConfigurationError, match="these credentials") as caught,
    ):
        DynamoDBStorage(table, client=client)
    assert code in str(caught.value)

    with Refusing(storage, refusal(code)) as wire, pytest.raises(StorageError) as later:
        storage.put_checkpoint("agent", 1)
    assert not isinstance(later.value, StorageUnavailableError | ConfigurationError)
    assert len(wire.operations) == 1


def test_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    with pytest.raises(MissingDriverError, match=r"pip install 'torpor\[dynamodb\]'"):
        open_storage(f"dynamodb://table?{REGION}")


def test_missing_table_is_told(url: str) -> None:
    """Nothing is created that nobody asked for, and the error says how to."""
    with pytest.raises(ConfigurationError, match="does not exist: create it, pass create=True"):
        open_storage(url, create=False)


def test_table_may_be_created_by_several_at_once(url: str) -> None:
    """Whoever comes second finds what the first has made."""
    with open_storage(url) as storage:
        in_use = refusal("ResourceInUseException")
        missing = refusal("ResourceNotFoundException")
        client, table = table_of(storage)
        with (
            Refusing(storage, missing, operation="DescribeTable"),
            Refusing(storage, in_use, operation="CreateTable"),
            DynamoDBStorage(table, client=client, create=True) as other,
        ):
            other.put_checkpoint("agent", 1)
        assert checkpoint(storage, "agent").value == 1


def test_foreign_table_is_left_alone(storage: Storage) -> None:
    """A table with other keys is not Torpor's, and is not touched."""
    client, table = table_of(storage)
    foreign = f"{table}-foreign"
    client.create_table(
        TableName=foreign,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(ConfigurationError, match="is not Torpor's"):
        DynamoDBStorage(foreign, client=client, create=True)


def test_table_of_a_newer_version_is_refused(url: str, storage: Storage) -> None:
    """It is neither read nor written."""
    client, table = table_of(storage)
    item = {**place(TABLE_KEY), "format": {"N": "99"}}
    client.put_item(TableName=table, Item=item)

    with pytest.raises(SchemaVersionError) as caught:
        open_storage(url)
    assert (caught.value.found, caught.value.supported) == (99, 1)


# -- what cannot be stored ------------------------------------------------------------------------


def test_key_too_long(storage: Storage) -> None:
    """It is refused, its neighbours are stored, and the longest there are fit (rule 9)."""
    longest = "é" * 256
    outcomes = storage.commit([put("é" * 257), owned(longest, f"{longest}#{'x' * 63}", "a")])

    assert isinstance(outcomes[0], Rejected)
    assert isinstance(outcomes[0].error, InvalidKeyError)
    assert payloads(storage.load_thread(f"{longest}#{'x' * 63}")) == ["a"]
    assert [record.key for record in all_pages(storage, Space.CHECKPOINTS)] == [longest]


def test_document_too_large(storage: Storage) -> None:
    """It is refused with both sizes, before anything is sent."""
    limit = storage.max_document_bytes
    assert limit is not None
    with Wire(storage) as wire, pytest.raises(RecordTooLargeError) as caught:
        storage.put_checkpoint("agent", "x" * limit)
    assert (caught.value.size, caught.value.limit) == (limit + 2, limit)
    assert wire.operations == []


# -- what passes, and what does not ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ProvisionedThroughputExceededException", 400),
        ("ThrottlingException", 400),
        ("RequestLimitExceeded", 400),
        ("TransactionConflictException", 400),
        ("InternalServerError", 500),
        ("ServiceUnavailable", 503),
        ("SomethingNew", 502),
    ],
)
def test_refusals_for_now_are_sent_again(storage: Storage, code: str, status: int) -> None:
    """Nobody notices a few of them."""
    answers = [refusal(code, status)] * 3
    for operation in ("BatchGetItem", "BatchWriteItem", "PutItem", "Query"):
        with Refusing(storage, *answers, operation=operation) as wire:
            storage.commit([put(operation)])
            assert [record.key for record in storage.list_checkpoints(operation)] == [operation]
        assert wire.operations.count(operation) >= 4


def test_lasting_refusals_end_within_the_time(url: str) -> None:
    """A table that takes nothing is one error, and its cause is told (rule 3)."""
    answer = refusal("ProvisionedThroughputExceededException")
    with (
        open_storage(url, timeout=0.5) as storage,
        Refusing(storage, answer, always=True) as wire,
    ):
        for call in (
            lambda: storage.commit([put("agent")]),
            lambda: storage.read(["agent"]),
            storage.list_checkpoints,
            lambda: storage.list_due(1.0),
        ):
            with pytest.raises(StorageUnavailableError, match="takes no more requests") as caught:
                call()
            assert caught.value.__cause__ is not None
            assert "ProvisionedThroughputExceeded" in str(caught.value)
        assert len(wire.operations) > 4


def test_unprocessed_items_are_sent_again(storage: Storage) -> None:
    """What a batch left out for now is read and written in the end."""
    sent: list[Any] = []

    def note(params: Any, **_: object) -> None:
        sent.append(params["RequestItems"])

    class Lazy(Wire):
        """Does nothing of the first two batches of each kind."""

        def before(self, operation: str) -> Any:
            """Return all of it as unprocessed."""
            if not operation.startswith("Batch") or self.operations.count(operation) > 2:
                return None
            if operation == "BatchGetItem":
                return answer_of({"Responses": {}, "UnprocessedKeys": sent[-1]})
            return answer_of({"UnprocessedItems": sent[-1]})

    with Lazy(storage) as wire:
        for name in ("BatchGetItem", "BatchWriteItem"):
            wire.client.meta.events.register(f"before-parameter-build.dynamodb.{name}", note)
        storage.put_checkpoint("agent", 1, wake_at=5.0)

    assert wire.operations == ["BatchGetItem"] * 3 + ["BatchWriteItem"] * 3 + ["PutItem"]
    assert checkpoint(storage, "agent").value == 1
    assert [item.key for item in storage.list_due(9.0)] == ["agent"]


def test_batches_that_are_never_done_end(url: str) -> None:
    """A part that is left out for ever is an error within the time, and nothing half is seen."""
    with open_storage(url, timeout=0.5) as storage:

        class Lazy(Wire):
            """Does nothing of any batch of writes."""

            def before(self, operation: str) -> Any:
                """Return something as unprocessed."""
                if operation != "BatchWriteItem":
                    return None
                item = {"PutRequest": {"Item": place(("a", "b"))}}
                return answer_of({"UnprocessedItems": {table_of(storage)[1]: [item]}})

        with Lazy(storage), pytest.raises(StorageUnavailableError):
            storage.commit([put("agent")])
        assert storage.get_checkpoint("agent") is None
        assert all_pages(storage, Space.CHECKPOINTS) == []


def test_one_refused_write_leaves_the_batch_to_be_sent_again(storage: Storage) -> None:
    """The batch raises, what was saved of it is saved once, and a resend ends it (rule 3)."""
    changes: list[Change] = [put(f"agent {number}", expected_rev=0) for number in range(20)]
    with (
        Refusing(storage, refusal("AccessDeniedException"), operation="PutItem"),
        pytest.raises(StorageError),
    ):
        storage.commit(changes)

    assert not any(isinstance(outcome, Rejected) for outcome in storage.commit(changes))
    assert {record.rev for record in all_pages(storage, Space.CHECKPOINTS)} == {1}


def test_full_collection_is_told(url: str) -> None:
    """A table that may not grow is full, which may pass."""
    answer = refusal("ItemCollectionSizeLimitExceededException")
    with (
        open_storage(url, timeout=0.5) as storage,
        Refusing(storage, answer, operation="PutItem", always=True),
        pytest.raises(StorageFullError),
    ):
        storage.commit([put("agent")])


def test_lost_table_is_no_missing_key(storage: Storage) -> None:
    """When the table is gone, that is what the error says (rule 8)."""
    drop_table(storage)

    with pytest.raises(StorageError, match="does not exist") as caught:
        storage.get_checkpoint("agent")
    assert not isinstance(caught.value, StorageUnavailableError)


# -- nobody there ---------------------------------------------------------------------------------


def test_refused_connection_is_one_error(url: str) -> None:  # noqa: ARG001 - sets credentials
    """Nobody listens: one error within the time, which names the place."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    begin = time.monotonic()
    with pytest.raises(StorageUnavailableError, match="cannot be reached") as caught:
        open_storage(f"dynamodb://table?{REGION}&endpoint_url=http://127.0.0.1:{port}&timeout=0.4")
    assert time.monotonic() - begin < PATIENCE
    assert str(port) in str(caught.value)


def test_silent_server_is_one_error(url: str) -> None:  # noqa: ARG001 - sets credentials
    """Somebody listens and never answers: the same."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        begin = time.monotonic()
        with pytest.raises(StorageUnavailableError, match="does not answer"):
            open_storage(
                f"dynamodb://table?{REGION}&endpoint_url=http://127.0.0.1:{port}&timeout=0.4"
            )
    assert time.monotonic() - begin < PATIENCE


def test_secrets_are_not_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a repr nor an error holds a key."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tiger")
    with open_storage(url) as storage:
        assert "tiger" not in repr(storage)
        drop_table(storage)
        with pytest.raises(StorageError) as caught:
            storage.get_checkpoint("agent")
    assert "tiger" not in str(caught.value)
    assert DYNALITE.server.endpoint in str(caught.value)
