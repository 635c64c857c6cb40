"""Where chaos runs store: memory, files, and servers of their own that may be stopped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

from tests.chaos.disks import small_disk
from tests.chaos.life import STORAGE_TIMEOUT
from tests.chaos.workers import ProcessWorker, ThreadWorker
from tests.servers.registry import SERVERS
from torpor.storage import open_storage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Generator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.chaos.workers import Worker
    from tests.servers.base import PrivateServer
    from torpor.storage import Storage

__all__ = ["PLACES", "Place"]


class Place(ABC):
    """Where the agents hibernate to; call ``close`` when done."""

    server: PrivateServer | None = None
    """What may be stopped, if there is such a thing."""
    pace = 200
    """How many turns are acknowledged between two deeds, at most."""

    disk = False
    """Whether there is a disk that can be full."""

    @abstractmethod
    def start(self, name: str, tell: Callable[[str], None]) -> Worker:
        """Begin the life ``name`` on it."""

    @contextmanager
    def full_disk(
        self,
        chance: random.Random,  # noqa: ARG002 - one with a disk makes use of it
        workers: Sequence[ProcessWorker],  # noqa: ARG002
    ) -> Generator[None]:
        """Leave hardly any room on the disk within the block."""
        yield

    @abstractmethod
    def opened(self) -> AbstractContextManager[Storage]:
        """Return the storage, for a look from outside."""

    @abstractmethod
    def close(self) -> None:
        """Give it up."""


class MemoryPlace(Place):
    """Memory of this process, which all lives share; none of them can be killed."""

    pace = 2000  # it is fast, and lives need some time between storms

    def __init__(self, _: Path) -> None:
        self._storage = MemoryStorage()

    def start(self, name: str, tell: Callable[[str], None]) -> Worker:
        """See ``Place``."""
        return ThreadWorker(self._storage, name, tell)

    def opened(self) -> AbstractContextManager[Storage]:
        """See ``Place``."""
        return nullcontext(self._storage)

    def close(self) -> None:
        """See ``Place``."""
        self._storage.close()


class UrlPlace(Place):
    """What processes open, each for itself."""

    url: str
    timeout = f"timeout={STORAGE_TIMEOUT}"
    """How a URL says it."""

    def start(self, name: str, tell: Callable[[str], None]) -> Worker:
        """See ``Place``."""
        return ProcessWorker(f"{self.url}?{self.timeout}", name, tell)

    def opened(self) -> AbstractContextManager[Storage]:
        """See ``Place``."""
        return open_storage(self.url)

    def close(self) -> None:
        """Do nothing: whoever gave the folder removes it."""


class LocalPlace(UrlPlace):
    """Files of the workers themselves."""

    disk = True

    @contextmanager
    def full_disk(self, chance: random.Random, workers: Sequence[ProcessWorker]) -> Generator[None]:
        """See ``Place``."""
        most = self.room(chance)
        for worker in workers:
            worker.limit_files(most)
        yield
        for worker in workers:
            worker.limit_files(None)

    @abstractmethod
    def room(self, chance: random.Random) -> int:
        """Return how long a file may grow when the disk is full."""


class FilePlace(LocalPlace):
    """A folder of files, of which many are new and some grow."""

    def __init__(self, folder: Path) -> None:
        self.url = f"file:///{folder}/store"

    def room(self, chance: random.Random) -> int:
        """Return what breaks some writes off half way."""
        return chance.randrange(3000)


class SQLitePlace(LocalPlace):
    """One file, and its log."""

    timeout = f"busy_timeout={STORAGE_TIMEOUT}"

    def __init__(self, folder: Path) -> None:
        self._log = folder / "store.db-wal"
        self.url = f"sqlite:///{folder}/store.db"

    def room(self, chance: random.Random) -> int:  # noqa: ARG002 - what is there decides
        """Return how long the log is already: it can be written anew, and not extended."""
        return self._log.stat().st_size if self._log.exists() else 0


class ServerPlace(UrlPlace):
    """A server of its own, if possible on a disk of its own."""

    def __init__(self, name: str) -> None:
        with ExitStack() as leaving:
            self._disk = small_disk()
            if self._disk is not None:
                leaving.callback(self._disk.close)
            self.server = server = SERVERS[name](self._disk.folder if self._disk else None)
            leaving.callback(server.close)
            self._leaving = leaving.pop_all()
        self.disk = self._disk is not None
        self.url = server.url

    @contextmanager
    def full_disk(
        self,
        chance: random.Random,
        workers: Sequence[ProcessWorker],  # noqa: ARG002 - it is the server that writes
    ) -> Generator[None]:
        """See ``Place``. Some servers end when their disk is full: they are started again."""
        assert self._disk is not None
        assert self.server is not None
        with self._disk.full(chance.randrange(0, 100_000)):
            yield
        self.server.revive()

    def close(self) -> None:
        """End it."""
        self._leaving.close()


PLACES: Mapping[str, Callable[[Path], Place]] = {
    "memory": MemoryPlace,
    "file": FilePlace,
    "sqlite": SQLitePlace,
    "postgresql": lambda _: ServerPlace("postgresql"),
    "mariadb": lambda _: ServerPlace("mariadb"),
    "redis": lambda _: ServerPlace("redis"),
}
"""Each gets an empty folder."""
