"""What these tests share: an agent, its events, and gates that hold a handler."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from torpor import Agent, AgentEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from torpor import Runtime
    from torpor.storage import Checkpoint, Entry, Record, Storage
    from torpor.testing import ManualClock

__all__ = [
    "PATIENCE",
    "Counter",
    "Eventual",
    "Gate",
    "Journal",
    "Lazy",
    "Watch",
    "pass_time",
    "payloads",
    "records",
    "saved",
    "together",
]

E = TypeVar("E", bound=AgentEvent)
T = TypeVar("T")

PATIENCE = 20.0
"""Seconds after which a test stops waiting for what should have happened long ago."""


class Counter(Agent):
    """Counts, and keeps notes in its thread."""

    count: int = 0

    def add(self, n: int = 1) -> int:
        """Add ``n``."""
        self.count += n
        return self.count

    def read(self) -> int:
        """Change nothing."""
        return self.count

    def note(self, *texts: str) -> int:
        """Append a note for each text; return how many entries there are."""
        for text in texts:
            self.thread.append("note", {"text": text})
        return self.thread.rev

    def notes(self) -> list[str]:
        """Return the texts of all notes."""
        return [entry.payload["text"] for entry in self.thread.entries()]

    def ring(self, bell: threading.Event) -> None:
        """Ring ``bell``."""
        bell.set()

    def fail(self, message: str) -> None:
        """Change state and thread, and fail."""
        self.count = -1
        self.note(message)
        raise LookupError(message)


class Lazy(Counter, durability="hibernate"):
    """Is stored when it falls asleep."""


class Eventual(Counter, durability="interval", flush_interval=5, idle_timeout=None):
    """Is stored every five seconds."""


class Journal(Agent, track_commands=False):
    """Hands out what it does with its thread."""

    def append(self, /, *payloads: Any, kind: str = "note", **more: Any) -> list[Entry]:
        """Append an entry for each payload."""
        return [self.thread.append(kind, payload, **more) for payload in payloads]

    def tail(self, n: int, kinds: Collection[str] | None = None) -> list[Entry]:
        """Return the last entries."""
        return self.thread.tail(n, kinds=kinds)

    def entries(self, /, **options: Any) -> list[Entry]:
        """Return entries."""
        return self.thread.entries(**options)

    def get(self, seq: int) -> Entry | None:
        """Return one entry."""
        return self.thread.get(seq)

    def last(self) -> Entry | None:
        """Return the newest entry."""
        return self.thread.last

    def trim(self, before: int) -> None:
        """Forget old entries."""
        self.thread.trim(before)

    def measures(self) -> tuple[str | None, int, int, int]:
        """Return id, revision, start and length."""
        return self.thread.id, self.thread.rev, self.thread.start, len(self.thread)

    def append_then_fail(self, payload: Any) -> None:
        """Append, trim and fail."""
        self.thread.append("note", payload)
        self.thread.trim(self.thread.rev)
        raise LookupError(payload)

    async def tail_later(self, n: int) -> list[Entry]:
        """Return the last entries, asynchronously."""
        return [*await self.thread.atail(n), *await self.thread.aentries(after=10**6)]

    async def tail_at_once(self, n: int) -> list[Entry]:
        """Return the last entries on the event loop's thread."""
        return self.thread.tail(n)


class Watch:
    """Every event of a runtime so far, and a way to wait for one."""

    def __init__(self, runtime: Runtime) -> None:
        self.events: list[AgentEvent] = []
        self._changed = threading.Condition()
        runtime.listen(self._note)

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind, in order."""
        return [event for event in tuple(self.events) if isinstance(event, kind)]

    def wait(self, kind: type[E], count: int = 1) -> list[E]:
        """Return the events of one kind once there are ``count``."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.of(kind)) >= count, PATIENCE)
        assert came, f"no {kind.__name__} came: {self.events}"
        return self.of(kind)

    def _note(self, event: AgentEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()


class Gate:
    """Holds a handler in the middle of its turn: ``pass_through`` it there, ``open`` it here."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def pass_through(self) -> None:
        """Say that the handler has come this far, and wait until the gate is open."""
        self.entered.set()
        assert self._open.wait(PATIENCE), "nobody opened the gate"

    def wait_for_entry(self) -> None:
        """Wait until a handler stands at the gate."""
        assert self.entered.wait(PATIENCE), "nobody came to the gate"

    def open(self) -> None:
        """Let whoever waits, and whoever comes later, go on."""
        self._open.set()


def pass_time(runtime: Runtime, clock: ManualClock, seconds: float) -> None:
    """Let ``seconds`` pass, and wait until the runtime has done what was due by then."""
    done = threading.Event()
    clock.advance(seconds)
    runtime.manager.timer.at(clock.monotonic(), done.set)
    assert done.wait(PATIENCE), "the timer does not run"


def saved(storage: Storage, address: str) -> Checkpoint:
    """Return a checkpoint that must exist."""
    checkpoint = storage.get_checkpoint(address)
    assert checkpoint is not None, f"no checkpoint {address!r}"
    return checkpoint


def records(storage: Storage, prefix: str = "") -> list[Record]:
    """Return all live records whose key has ``prefix``, read by many small pages."""
    found: list[Record] = []
    cursor: str | None = None
    while True:
        page = storage.list_checkpoints(prefix, cursor=cursor, limit=20)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


def together(*jobs: Callable[[], T]) -> list[T]:
    """Run the jobs at once, each on a thread of its own; return their results in order."""
    begin = threading.Barrier(len(jobs))

    def run(job: Callable[[], T]) -> T:
        begin.wait(PATIENCE)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs, timeout=PATIENCE))


def payloads(entries: list[Entry]) -> list[Any]:
    """Return what entries say."""
    return [entry.payload for entry in entries]
