"""A batch of every kind of change to a file store, and what must hold wherever it was broken off.

``break_off_everywhere`` runs in a process of its own, which forks: a child dies in the middle
of the batch, at another call of the operating system each time.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torpor.storage.file import FileStorage
from torpor.storage.file.layout import STRIPES
from torpor.storage.records import Change, Record, Rejected, Saved
from torpor.storage.testing.kit import append, owned, payloads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from torpor.storage import Storage
    from torpor.storage.records import Outcome

KEPT = 50
"""How many entries of its thread the agent of ``commit_for_ever`` keeps, about."""

WRITING_CALLS = ("open", "write", "ftruncate", "fsync", "mkdir", "replace", "unlink", "rmdir")
"""The functions of ``os`` through which a file storage writes."""


class Scenario:
    """Three agents with threads, a standalone thread, and one change to each and to a new one."""

    def __init__(self, storage: Storage) -> None:
        storage.commit(
            [
                owned("grows", "grows#1", 0, 1, 2, value="old", wake_at=10.0),
                owned("swaps", "swaps#1", 0, value="old"),
                owned("dies", "dies#1", 0, value="old", wake_at=30.0),
                append("log", 0, wake_at=40.0),
            ]
        )
        self.changes = [
            owned("grows", "grows#1", 3, 4, value="new", trim_before=3, wake_at=20.0),
            owned("swaps", "swaps#2", "x", value="new"),
            Change(key="dies", delete=True, at=time.time()),
            append("log", 1, wake_at=40.0),
            owned("born", "born#1", "first", value="new", wake_at=50.0),
        ]

    def states(self, storage: Storage) -> list[str]:
        """Return "old" or "new" for each change; whatever is neither fails an assertion."""
        heads = ["grows#1", "swaps#1", "swaps#2", "dies#1", "log", "born#1"]
        threads = {
            thread_id: payloads(thread)
            for thread_id in heads
            if (thread := storage.load_thread(thread_id)) is not None
        }
        due = {item.key: item.wake_at for item in storage.list_due(1000.0)}
        records: dict[str, Any] = {}
        for key in ("grows", "swaps", "dies", "born"):
            [record] = storage.read([key])
            assert not isinstance(record, Exception), record
            records[key] = record.data if isinstance(record, Record) else None
        found: list[tuple[Any, ...]] = [
            (records["grows"], threads.get("grows#1"), due.get("grows")),
            (records["swaps"], threads.get("swaps#1"), threads.get("swaps#2")),
            (records["dies"], threads.get("dies#1"), due.get("dies")),
            (threads["log"], due["log"]),
            (records["born"], threads.get("born#1"), due.get("born")),
        ]
        old: list[tuple[Any, ...]] = [
            ('"old"', [0, 1, 2], 10.0),
            ('"old"', [0], None),
            ('"old"', [0], 30.0),
            ([0], 40.0),
            (None, None, None),
        ]
        new: list[tuple[Any, ...]] = [
            ('"new"', [3, 4], 20.0),
            ('"new"', None, ["x"]),
            (None, None, None),
            ([0, 1], 40.0),
            ('"new"', ["first"], 50.0),
        ]
        for state in zip(found, old, new, strict=True):
            assert state[0] in state[1:], state
        return ["old" if item == before else "new" for item, before in zip(found, old, strict=True)]

    def require_whole(self, storage: Storage, outcomes: Sequence[Outcome] = ()) -> None:
        """Check all that must hold after the batch was broken off or answered ``outcomes``."""
        states = self.states(storage)
        for state, outcome in zip(states, outcomes, strict=False):
            assert state == ("old" if isinstance(outcome, Rejected) else "new"), outcome

        again = storage.commit(self.changes)

        assert all(isinstance(outcome, Saved) for outcome in again), again
        assert self.states(storage) == ["new"] * len(self.changes)
        storage.commit([append("log", 2, wake_at=40.0), owned("grows", "grows#1", 5)])
        assert payloads(storage.load_thread("log")) == [0, 1, 2]
        assert payloads(storage.load_thread("grows#1")) == [3, 4, 5]

    def require_tidy(self, storage: FileStorage) -> None:
        """Check that a vacuum leaves nothing that nobody needs."""
        storage.vacuum(-60.0)

        heads = {"grows#1", "swaps#2", "log", "born#1"}
        assert len(names(storage.path / "threads")) == len(heads)
        assert len(names(storage.path / "checkpoints")) == len({"grows", "swaps", "born"})
        assert len(names(storage.path / "due")) == len({"log", "born"})
        assert storage.get_checkpoint("dies") is None
        assert storage.put_checkpoint("dies", "again") == 1


def names(folder: Path) -> list[str]:
    """Return the names in a folder."""
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def at_call(number: int, act: Callable[[str, tuple[Any, ...]], None]) -> Generator[list[str]]:
    """Call ``act(name, arguments)`` before the ``number``-th of these calls; yield their names.

    Nothing is really forced to the disk: no machine is switched off here.
    """
    calls: list[str] = []
    originals: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in WRITING_CALLS}

    def wrap(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == number:
                act(name, args)
            return None if name == "fsync" else originals[name](*args, **kwargs)

        return call

    for name in WRITING_CALLS:
        setattr(os, name, wrap(name))
    try:
        yield calls
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def break_off_everywhere(folder: Path) -> None:
    """Kill a process at each of its writing calls in turn, and check what it leaves."""
    number = 0
    while True:
        number += 1
        with FileStorage(folder / str(number), fsync=False) as storage:
            scenario = Scenario(storage)
        child = os.fork()
        if child == 0:
            with at_call(number, _die), FileStorage(storage.path) as storage:
                storage.commit(scenario.changes)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        with FileStorage(storage.path, fsync=False) as storage:
            scenario.require_whole(storage)
            scenario.require_tidy(storage)
        if os.waitstatus_to_exitcode(status) == 0:
            break
    assert number > 50, "the batch writes more than that"


def _die(name: str, arguments: tuple[Any, ...]) -> None:
    if name == "write":
        descriptor, content = arguments
        os.writev(descriptor, [content[: len(content) // 2]])
    os._exit(9)


def commit_for_ever(path: Path, acknowledged: Connection) -> None:
    """Commit batch after batch, count on from what is stored, and tell what was saved."""
    with FileStorage(path) as storage:
        agent = storage.get_checkpoint("agent")
        log = storage.thread_head("log")
        number = agent.value if agent else 0
        length = log.rev if log else 0
        while True:
            number += 1
            length += 1
            storage.commit(
                [
                    owned(
                        "agent",
                        "agent#1",
                        number,
                        value=number,
                        wake_at=float(number),
                        trim_before=number - KEPT,
                    ),
                    append("log", length),
                ]
            )
            acknowledged.send((number, length))


def put_many(path: Path, count: int) -> None:
    """Put the same key over and over."""
    with FileStorage(path) as storage:
        for number in range(count):
            storage.put_checkpoint("agent", number)


def lock_survives_fork(path: Path) -> None:
    """Fork while another thread writes; the child must be able to write afterwards."""
    held, release = threading.Event(), threading.Event()
    with FileStorage(path, timeout=20.0) as storage:

        def hold() -> None:
            with storage._locks.hold(STRIPES):  # pyright: ignore[reportPrivateUsage]
                held.set()
                release.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if child == 0:
            storage.put_checkpoint("agent", "child")
            os._exit(0)
        release.set()
        thread.join()
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert storage.put_checkpoint("agent", "parent", expected_rev=1) == 2
