"""What goes wrong with MongoDB is one typed error, within the timeout.

Run against the stand-in that ``tests.servers.mongodb`` describes; it fails on demand as MongoDB
does in its own tests (``failCommand``).
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient, errors
from pymongo.errors import InvalidOperation

from tests.places.mongodb import MONGODB
from tests.servers.mongodb import PrivateMongoDB
from tests.storage.mongodb_kit import collection, failing, hurry
from torpor.storage import open_storage
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
from torpor.storage.mongodb import MongoDBStorage
from torpor.storage.mongodb.errors import translate
from torpor.storage.records import Change, Put, Rejected, Saved
from torpor.storage.testing.kit import append, checkpoint, owned, put

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator


@contextmanager
def _seconds(limit: float) -> Generator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < limit


@pytest.fixture
def url(empty_place: Callable[[str], str]) -> str:
    """Return the URL of an empty store."""
    return empty_place("mongodb")


@pytest.fixture
def storage(url: str) -> Iterator[MongoDBStorage]:
    """Return a storage on it."""
    with MongoDBStorage.from_url(url) as storage:
        yield storage


# -- while it is opened ---------------------------------------------------------------------------


def test_connection_refused() -> None:
    """Nobody listens: one error, within the timeout, that can be retried."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]

    with (
        _seconds(5.0),
        pytest.raises(StorageUnavailableError, match="cannot be reached") as caught,
    ):
        open_storage(f"mongodb://user:secret@127.0.0.1:{port}/app", timeout=0.5)

    assert "secret" not in str(caught.value)
    assert str(port) in str(caught.value)


def test_name_that_dns_does_not_know() -> None:
    """Where the servers are to be found by DNS, and are not, that is told."""
    with pytest.raises(ConfigurationError, match="cannot be found") as caught:
        open_storage("mongodb+srv://user:secret@torpor.invalid/app", timeout=0.5)

    assert "mongodb+srv://torpor.invalid" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_server_that_never_answers() -> None:
    """Somebody accepts the connection and says nothing: an error within the timeout."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as mute,
        _seconds(5.0),
        pytest.raises(StorageUnavailableError),
    ):
        open_storage(f"mongodb://127.0.0.1:{mute.getsockname()[1]}/app", timeout=0.5)


class _GuardedMongoDB(PrivateMongoDB):
    """A server that, once it is guarded, wants a password."""

    guarded = False

    @property
    def url(self) -> str:
        """Where it is, with the password."""
        if not self.guarded:
            return super().url
        return f"mongodb://ada:s%40crit@127.0.0.1:{self.port}/torpor?authSource=admin"

    def command(self) -> list[str]:
        """Run it in the foreground."""
        return [*super().command(), *(["--auth"] if self.guarded else [])]

    def guard(self) -> None:
        """Begin to want a password."""
        client: MongoClient[Any] = MongoClient(super().url)
        with client:
            client.admin.command(
                {"createUser": "ada", "pwd": "s@crit", "roles": ["readWriteAnyDatabase"]}
            )
        self.stop("in good order")
        self.guarded = True
        self.start()


def test_wrong_password() -> None:
    """It is to be corrected, not retried, and is never told; the right one works."""
    with closing(_GuardedMongoDB()) as server:
        server.guard()

        with open_storage(server.url) as storage:
            storage.put_checkpoint("agent", 1)
            assert "s@crit" not in repr(storage)
            assert "s%40crit" not in repr(storage)
        for wrong in ("ada:wr%40ng@", ""):
            with pytest.raises(ConfigurationError, match="password") as caught:
                open_storage(server.url.replace("ada:s%40crit@", wrong))
            assert "wr%40ng" not in str(caught.value)
            assert "wr@ng" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://",
        "mongodb://user:sec@ret@host/app",
        "mongodb://user:sec/ret@host/app",
        "mongodb://host:port:secret/app",
        "mongodb://user:secret@host/app?tls=true&tlsInsecure=true&tlsAllowInvalidHostnames=true",
    ],
)
def test_wrong_url(url: str) -> None:
    """What is no URL of MongoDB is told without repeating what may be secret."""
    with pytest.raises(ConfigurationError) as caught:
        open_storage(url, timeout=0.3)

    assert "sec" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("option", ["timeout=soon", "create=maybe", "queryable=2"])
def test_wrong_option_in_the_url(option: str) -> None:
    """A value that an option can't have is named."""
    with pytest.raises(ConfigurationError, match=option.partition("=")[0]):
        open_storage(f"mongodb://127.0.0.1/app?{option}")


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"collection_prefix": "a.$"}, {"speed": 1}], ids=str
)
def test_wrong_option(options: dict[str, Any]) -> None:
    """So is an option that there is not, and a value of a keyword."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        open_storage("mongodb://127.0.0.1/app", **options)


def test_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that brings it."""
    for module in [name for name in sys.modules if name.startswith("torpor.storage.mongodb")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pymongo", None)

    with pytest.raises(MissingDriverError, match=r"pip install 'torpor\[mongodb\]'"):
        open_storage("mongodb://127.0.0.1/app")


def test_missing_collections(url: str) -> None:
    """With ``create=False`` they must be there, and nothing is made."""
    with pytest.raises(ConfigurationError, match="create is false"):
        open_storage(url, create=False)

    assert MONGODB.client[MONGODB.database].list_collection_names() == []
    open_storage(url).close()
    open_storage(url, create=False).close()


def test_newer_format(storage: MongoDBStorage, url: str) -> None:
    """A store of a newer version is left alone."""
    storage.put_checkpoint("agent", 1)
    collection("schema").update_one({}, {"$set": {"version": 2}})

    with pytest.raises(SchemaVersionError) as caught:
        open_storage(url)

    assert (caught.value.found, caught.value.supported) == (2, 1)
    assert checkpoint(storage, "agent").value == 1


@pytest.mark.parametrize("version", ["one", None])
def test_foreign_collection(url: str, version: object) -> None:
    """A collection of somebody else's that has the same name is left alone."""
    collection("schema").insert_one({"_id": "torpor", "version": version})

    with pytest.raises(ConfigurationError, match="version"):
        open_storage(url)


def test_collation_that_confuses_keys(url: str) -> None:
    """Where "A" and "a" are one key nothing may be stored (rule 9)."""
    database = MONGODB.client[MONGODB.database]
    database.create_collection("torpor_threads", collation={"locale": "en", "strength": 2})

    with pytest.raises(ConfigurationError, match="collation"):
        open_storage(url)


def test_write_concern_that_tells_nothing(url: str) -> None:
    """Without acknowledgements nobody knows what was saved."""
    with pytest.raises(ConfigurationError, match="w=0"):
        open_storage(f"{url}&w=0")


# -- while it is used -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (13, StorageError),
        (50, StorageUnavailableError),
        (64, StorageUnavailableError),
        (91, StorageUnavailableError),
        (112, StorageUnavailableError),
        (10107, StorageUnavailableError),
        (14031, StorageFullError),
    ],
)
def test_error_of_the_server(storage: MongoDBStorage, code: int, error: type[StorageError]) -> None:
    """Each is one error of Torpor's with the driver's as its cause, and the record stands."""
    storage.put_checkpoint("agent", 1)
    hurry(storage, 0.3)

    with failing("find", "update", errorCode=code), pytest.raises(StorageError) as caught:
        storage.commit([put("agent", 2)])
    with failing("update", errorCode=code), pytest.raises(error) as caught_writing:
        storage.commit([put("agent", 2)])

    assert type(caught.value) is type(caught_writing.value) is error
    assert isinstance(caught.value.__cause__, errors.PyMongoError)
    assert "agent" not in str(caught.value)
    stored = collection("checkpoints").find_one()  # PyMongo thinks that there is no primary
    assert stored is not None
    assert stored["state"] == 1


def test_write_that_is_not_confirmed(storage: MongoDBStorage) -> None:
    """Too few members had it in time: the outcome is unknown, and a resend finds out (rule 3)."""
    change = put("agent", 1, expected_rev=0)
    unconfirmed = {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting"}

    with (
        failing("update", writeConcernError=unconfirmed),
        pytest.raises(StorageUnavailableError, match="confirmed"),
    ):
        storage.commit([change])

    assert storage.commit([change]) == [Saved(1)]


def test_slow_server(storage: MongoDBStorage) -> None:
    """An operation ends within the timeout, whatever the server does meanwhile."""
    hurry(storage, 0.3)

    with (
        failing("find", blockConnection=True, blockTimeMS=3000),
        _seconds(2.5),
        pytest.raises(StorageUnavailableError),
    ):
        storage.get_checkpoint("agent")


def test_client_that_was_closed(url: str) -> None:
    """A client that its owner closed is an error of the storage (rule 8)."""
    client: MongoClient[Any] = MongoClient(url.partition("?")[0])
    with client:
        storage = MongoDBStorage(client)
    with storage, pytest.raises(StorageError) as caught:
        storage.get_checkpoint("agent")

    assert isinstance(caught.value.__cause__, InvalidOperation)


def test_key_too_long(storage: MongoDBStorage) -> None:
    """A key has up to 512 bytes; nothing is written beside (rule 9)."""
    with pytest.raises(InvalidKeyError):
        storage.put_checkpoint("k" * 513, 1)

    assert collection("checkpoints").count_documents({}) == 0


def test_document_that_a_validator_refuses(url: str) -> None:
    """What the server itself does not take is refused alone (rule 2)."""
    database = MONGODB.client[MONGODB.database]
    database.create_collection("torpor_checkpoints", validator={"kind": {"$ne": "bad"}})
    with open_storage(url) as storage:
        bad, good = storage.commit([_put("a", "x", kind="bad"), _put("b", "x", kind="good")])

        assert isinstance(bad, Rejected)
        assert type(bad.error) is StorageError
        assert good == Saved(1)


def test_document_too_large(storage: MongoDBStorage) -> None:
    """A document above 16 MiB is refused, also if only all its parts are; neighbours are saved."""
    limit = storage.max_document_bytes
    assert limit is not None
    large = put("data", "x" * limit)
    kind = _put("kind", "x" * (limit - 100), kind="k" * 40_000)
    entry = append("log", "x" * limit)

    outcomes = storage.commit([large, kind, entry, put("agent", 1)])

    for outcome in outcomes[:3]:
        assert isinstance(outcome, Rejected)
        assert isinstance(outcome.error, RecordTooLargeError)
    assert outcomes[3] == Saved(1)
    assert collection("checkpoints").count_documents({}) == 1
    assert storage.load_thread("log") is None


def test_document_just_not_too_large(storage: MongoDBStorage) -> None:
    """Up to the limit it is stored; the copy for queries is left out when both do not fit."""
    limit = storage.max_document_bytes
    assert limit is not None

    storage.put_checkpoint("agent", "x" * (limit - 2))

    assert len(checkpoint(storage, "agent").data) == limit
    assert collection("checkpoints").find_one({"_id": "agent"}, {"state": 1}) == {"_id": "agent"}


def _put(key: str, value: str, *, kind: str) -> Change:
    return Change(key=key, put=Put(data=f'"{value}"', kind=kind))


@pytest.mark.parametrize("kind", ["\ud800", "\0ok"], ids=["surrogate", "nul"])
def test_kind_without_a_form(storage: MongoDBStorage, kind: str) -> None:
    """What BSON can't hold is refused alone, what it can is kept (rule 2)."""
    outcome, neighbour = storage.commit(
        [_put("agent", "x", kind=kind), owned("other", "other#1", 1)]
    )

    assert isinstance(outcome, Rejected) is (kind == "\ud800")
    assert isinstance(neighbour, Saved)


def test_error_that_nobody_foresaw() -> None:
    """It is a ``StorageError`` all the same."""
    translated = translate(errors.OperationFailure("new", 99_999), "mongodb://host")

    assert type(translated) is StorageError
