"""What the tests of the MongoDB backend share: watching, breaking and racing it."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from tests.places.mongodb import MONGODB
from torpor.storage.mongodb import MongoDBStorage
from torpor.storage.mongodb.documents import entry_id
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pymongo.collection import Collection
    from pymongo.monitoring import (
        CommandFailedEvent,
        CommandStartedEvent,
        CommandSucceededEvent,
    )

__all__ = [
    "CommandLog",
    "after_fencing",
    "before_publishing",
    "collection",
    "failing",
    "hurry",
    "leave_stray",
    "records_of",
    "watched",
]


class CommandLog(CommandListener):
    """The names of the commands that a client sends, and the commands themselves."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.commands: list[Any] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Keep it."""
        self.names.append(event.command_name)
        self.commands.append(event.command)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing is to be kept."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing is to be kept."""

    def of(self, work: Callable[[], object]) -> list[str]:
        """Return the names of the commands that ``work`` sends."""
        self.names.clear()
        self.commands.clear()
        work()
        return list(self.names)


@contextmanager
def watched(url: str, **options: Any) -> Generator[tuple[MongoDBStorage, CommandLog]]:
    """Open a storage through a client of the test's own, and keep the commands that it sends."""
    log = CommandLog()
    client: MongoClient[Any] = MongoClient(url.partition("?")[0], event_listeners=[log])
    with client, MongoDBStorage(client, timeout=30, **options) as storage:
        yield storage, log


def collection(name: str) -> Collection[dict[str, Any]]:
    """Return a collection of the store in use, for reading and writing behind its back."""
    return MONGODB.client[MONGODB.database][f"torpor_{name}"]


@contextmanager
def failing(*commands: str, mode: str | dict[str, int] = "alwaysOn", **how: Any) -> Generator[None]:
    """Let the server fail these commands in one of the ways of MongoDB's ``failCommand``."""
    admin = MONGODB.client.admin
    data = {"failCommands": list(commands), **how}
    admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
    try:
        yield
    finally:
        admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def leave_stray(thread_id: str, seq: int, **fields: Any) -> None:
    """Put an entry where a writer left one that died before it could publish its record."""
    stray = {
        "_id": entry_id(thread_id, seq),
        "thread": thread_id,
        "seq": seq,
        "etag": "of the dead",
        "incarnation": "of the dead",
        "written_at": 0.0,
    }
    collection("entries").insert_one(stray | fields)


def hurry(storage: MongoDBStorage, seconds: float) -> None:
    """Give operations no more than this, in which PyMongo asks a failing server again."""
    storage._database.timeout = seconds


def records_of(storage: MongoDBStorage) -> Collection[dict[str, Any]]:
    """Return the storage's own collection of checkpoints, with the options that it has there."""
    return storage._database.records[Space.CHECKPOINTS]


def before_publishing(storage: MongoDBStorage, work: Callable[[], object]) -> None:
    """Let ``work`` be done once, when the entries of the next commit are there, not its records."""
    committer: Any = storage._committer
    original = committer._publish

    def hooked(*arguments: Any) -> Any:
        committer._publish = original
        work()
        return original(*arguments)

    committer._publish = hooked


def after_fencing(storage: MongoDBStorage, work: Callable[[], object]) -> None:
    """Let ``work`` be done once, when the next record has its new etag, and no place is taken."""
    writer: Any = storage._committer._entries
    original = writer._fence

    def hooked(*arguments: Any) -> Any:
        writer._fence = original
        fenced = original(*arguments)
        work()
        return fenced

    writer._fence = hooked
