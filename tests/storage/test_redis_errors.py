"""What goes wrong with Redis is one typed error, within the timeout, and loses nothing."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportPrivateUsage=false
# redis-py leaves keyword arguments without a type; what is looked at here is not public

from __future__ import annotations

import socket
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from redis import exceptions as driver

from tests.servers.redis import ForgetfulRedis
from tests.storage.redis_kit import client_of
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
from torpor.storage.records import Rejected, Saved, ThreadWrite
from torpor.storage.redis import RedisStorage
from torpor.storage.redis.errors import translate
from torpor.storage.testing.kit import append, checkpoint, entries_of, payloads, put

if TYPE_CHECKING:
    from collections.abc import Iterator

# -- while it is opened ---------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port: int = taken.getsockname()[1]
    return port


def test_connection_refused(closed_port: int) -> None:
    """Nobody listens: one error that can be retried, and that tells no secret."""
    with pytest.raises(StorageUnavailableError, match="cannot be reached") as caught:
        open_storage(f"redis://user:secret@127.0.0.1:{closed_port}/0", timeout=2.0)

    assert "secret" not in str(caught.value)
    assert str(closed_port) in str(caught.value)


def test_server_that_never_answers() -> None:
    """Somebody accepts the connection and says nothing: an error, not a wait for ever."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as mute,
        pytest.raises(StorageUnavailableError, match="did not answer in time"),
    ):
        open_storage(f"redis://127.0.0.1:{mute.getsockname()[1]}", timeout=0.2)


class PasswordServer(ForgetfulRedis):
    """A server that wants a password."""

    settings = (*ForgetfulRedis.settings, "--requirepass", "right%20word")

    @property
    def url(self) -> str:
        """Where it is; the password is percent-encoded."""
        return f"redis://:right%2520word@127.0.0.1:{self.port}/0"


@pytest.fixture(scope="module")
def password_server() -> Iterator[PasswordServer]:
    """Return a server that wants a password."""
    with closing(PasswordServer()) as server:
        yield server


def test_right_password(password_server: PasswordServer) -> None:
    """What is percent-encoded in the URL is decoded, and shown nowhere."""
    with open_storage(password_server.url) as storage:
        assert storage.put_checkpoint("agent", 1) == 1
        assert "right" not in repr(storage)


@pytest.mark.parametrize("user", ["", ":secret@", "nobody:secret@"])
def test_wrong_password(password_server: PasswordServer, user: str) -> None:
    """None, or a wrong one, is to be corrected, not retried; it is not told."""
    with pytest.raises(ConfigurationError, match="user or password is wrong") as caught:
        open_storage(f"redis://{user}127.0.0.1:{password_server.port}/0")

    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.__cause__)


def test_user_without_rights(password_server: PasswordServer) -> None:
    """A user who may not write here is told so when the storage is opened."""
    with open_storage(password_server.url) as storage:
        assert isinstance(storage, RedisStorage)
        client_of(storage).acl_setuser(
            "reader", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@read"]
        )
    url = f"redis://reader:secret@127.0.0.1:{password_server.port}/0?prefix=new"

    with pytest.raises(ConfigurationError, match="may not do this"):
        open_storage(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis:",
        "redis://",
        "redis://127.0.0.1:secret",
        "redis://127.0.0.1:99999/0",
        "redis://127.0.0.1/secret",
        "redis://127.0.0.1/0?no_such_option=1",
        "redis://127.0.0.1/0?timeout=soon",
        "redis://127.0.0.1/0?timeout=0",
        "redis://127.0.0.1/0?ttl=0",
        "redis://127.0.0.1/0?ttl=-1",
        "redis://127.0.0.1/0?pool_size=0",
        "redis://127.0.0.1/0?prefix=",
        "redis://127.0.0.1/0?prefix={a}",
    ],
)
def test_wrong_urls(url: str) -> None:
    """A URL or an option that can't be is one clear error."""
    with pytest.raises(ConfigurationError):
        open_storage(url)


def test_unknown_keyword() -> None:
    """So is a keyword that the storage does not have."""
    with pytest.raises(ConfigurationError, match="no_such_option"):
        open_storage("redis://127.0.0.1", no_such_option=1)


def test_missing_database(redis_url: str) -> None:
    """And a number that the server has no database for."""
    with pytest.raises(ConfigurationError, match="DB index is out of range"):
        open_storage(redis_url.replace("/0?", "/1000?"))


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix", "valkey", "valkeys"])
def test_missing_driver(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that brings the driver."""
    for name in [name for name in sys.modules if name.startswith("torpor.storage.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(MissingDriverError, match=r"pip install 'torpor\[redis\]'"):
        open_storage(f"{scheme}://127.0.0.1")


def test_other_schemes(redis: RedisStorage, redis_url: str) -> None:
    """Valkey's URL is the same place."""
    redis.put_checkpoint("agent", 1)

    with open_storage(redis_url.replace("redis://", "valkey://")) as storage:
        assert checkpoint(storage, "agent").value == 1


def test_newer_format(redis: RedisStorage, redis_url: str) -> None:
    """A store of a newer version is refused and left as it is."""
    client, document = client_of(redis), b'{"format": 2, "partitions": 128}'
    client.set(redis._layout.format, document)

    with pytest.raises(SchemaVersionError) as caught:
        open_storage(redis_url)

    assert (caught.value.found, caught.value.supported) == (2, 1)
    assert client.get(redis._layout.format) == document


@pytest.mark.parametrize(
    "document", ["text", "[]", '{"format": 1}', '{"format": 1, "partitions": 7}']
)
def test_foreign_prefix(redis: RedisStorage, redis_url: str, document: str) -> None:
    """So is a prefix under which another program has its own."""
    client_of(redis).set(redis._layout.format, document)

    with pytest.raises(ConfigurationError):
        open_storage(redis_url)


def test_what_is_no_redis() -> None:
    """A server that speaks something else is not waited for."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        other.settimeout(5)
        url = f"redis://127.0.0.1:{other.getsockname()[1]}"

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises((ConfigurationError, StorageUnavailableError)):
            open_storage(url, timeout=2.0)
        thread.join()


# -- while it is used -----------------------------------------------------------------------------


class SmallServer(ForgetfulRedis):
    """A server that takes values of up to a megabyte."""

    settings: ClassVar[tuple[str, ...]] = (
        *ForgetfulRedis.settings,
        *("--proto-max-bulk-len", "1mb", "--maxmemory-policy", "noeviction"),
    )


@pytest.fixture(scope="module")
def small_server() -> Iterator[SmallServer]:
    """Return a server with little room."""
    with closing(SmallServer()) as server:
        yield server


@pytest.fixture
def small(small_server: SmallServer) -> Iterator[RedisStorage]:
    """Return a storage in a server with little room."""
    with RedisStorage.from_url(small_server.url) as storage:
        client_of(storage).config_set("maxmemory", 0)
        client_of(storage).flushall()
        yield storage
        client_of(storage).config_set("maxmemory", 0)


def test_too_large_document(small: RedisStorage) -> None:
    """What the server would not take is refused by itself (rule 2)."""
    fits, large = small.commit([put("fits", "x" * 900_000), put("large", "x" * 1_048_576)])

    assert isinstance(fits, Saved)
    assert isinstance(large, Rejected)
    assert isinstance(large.error, RecordTooLargeError)
    assert checkpoint(small, "fits").value == "x" * 900_000


def test_too_many_entries_at_once(redis: RedisStorage) -> None:
    """A change that has more arguments than a command may have is refused by itself (rule 2)."""
    write = ThreadWrite(id="huge#1", entries=entries_of([1]) * 500_001)

    small, outcome = redis.commit([put("small"), put("huge", thread=write)])

    assert isinstance(small, Saved)
    assert isinstance(outcome, Rejected)
    assert redis.get_checkpoint("huge") is None


def test_too_long_key(redis: RedisStorage) -> None:
    """A key is 512 bytes at most (rule 9)."""
    with pytest.raises(InvalidKeyError):
        redis.put_checkpoint("k" * 513, 1)


def test_full_server(small: RedisStorage) -> None:
    """Without memory nothing is saved and nothing is lost; deleting makes room (rule 1)."""
    small.commit([put("agent", "old"), append("log", "old"), put("big", "x" * 100_000)])
    client_of(small).config_set("maxmemory", 1)

    for change in (put("agent", "new"), put("fresh", "new"), append("log", "new", wake_at=1.0)):
        with pytest.raises(StorageFullError, match="maxmemory"):
            small.commit([change])
    small.delete_checkpoint("big")

    assert checkpoint(small, "agent").value == "old"
    assert payloads(small.load_thread("log")) == ["old"]
    assert small.read(["fresh", "big"]) == [None, None]
    assert [record.key for record in small.list_checkpoints()] == ["agent"]
    assert list(small.list_due(9.0)) == []


def test_replica(redis: RedisStorage, redis_url: str, closed_port: int) -> None:
    """A server that was made a replica is waited for: another one may take its place (rule 8)."""
    redis.put_checkpoint("agent", "old")
    client = client_of(redis)
    client.config_set("replica-serve-stale-data", "yes")
    client.replicaof("127.0.0.1", closed_port)
    try:
        with pytest.raises(StorageUnavailableError, match="can only be read"):
            redis.commit([put("agent", "new")])
        assert checkpoint(redis, "agent").value == "old"
        with pytest.raises(StorageUnavailableError):
            open_storage(redis_url.partition("=")[0] + "=new")
    finally:
        client.replicaof("NO", "ONE")

    assert redis.put_checkpoint("agent", "new") == 2


def test_busy_pool(redis_url: str) -> None:
    """Who finds no free connection is told so (rule 8)."""
    with RedisStorage.from_url(f"{redis_url}&pool_size=1&timeout=0.2") as storage:
        pool = client_of(storage).connection_pool
        taken = pool.get_connection()
        try:
            with pytest.raises(StorageUnavailableError, match="every connection of the pool"):
                storage.get_checkpoint("agent")
        finally:
            pool.release(taken)

        assert storage.get_checkpoint("agent") is None


def test_slow_server(redis_url: str) -> None:
    """A server that is busy with something else is not waited for longer than allowed."""
    with RedisStorage.from_url(f"{redis_url}&timeout=0.2") as storage:
        other = client_of(storage)
        other.client_pause(1000)
        try:
            with pytest.raises(StorageUnavailableError, match="did not answer in time"):
                storage.commit([put("agent")])
        finally:
            with RedisStorage.from_url(redis_url, timeout=30.0) as patient:
                client_of(patient).client_unpause()

        storage.put_checkpoint("agent", 2)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            driver.BusyLoadingError("Redis is loading the dataset in memory"),
            StorageUnavailableError,
        ),
        (driver.ClusterDownError("Hash slot not served"), StorageUnavailableError),
        (driver.RedisClusterException("no node"), StorageUnavailableError),
        (driver.ResponseError("MISCONF Redis is configured to save"), StorageUnavailableError),
        (driver.ResponseError("BUSY Redis is busy running a script"), StorageUnavailableError),
        (driver.ResponseError("NOREPLICAS Not enough good replicas"), StorageUnavailableError),
        (driver.ReadOnlyError("You can't write against a replica"), StorageUnavailableError),
        (driver.OutOfMemoryError("command not allowed"), StorageFullError),
        (
            driver.ResponseError("Error running script: @user_script:1: -OOM command not allowed"),
            StorageFullError,
        ),
        (driver.AuthenticationError("Authentication required."), StorageError),
        (driver.ResponseError("ERR OOMPH"), StorageError),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, Exception) else value.__name__,
)
def test_meaning_of_errors(error: Exception, expected: type[Any]) -> None:
    """What may pass by itself can be retried, the rest can not (rule 8)."""
    found = translate(error, "redis://host:6379/0")

    assert type(found) is expected
    assert "redis://host:6379/0" in str(found)
    assert found.__cause__ is error
