"""What the parts of ``StorageContract`` share: abilities, hooks, and ways to write and to wait."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from torpor.storage import codec
from torpor.storage.errors import ConflictError
from torpor.storage.records import Change, Entry, Put, Space, ThreadWrite, new_id
from torpor.storage.testing.counting import bytes_held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FunctionType

    from torpor.storage.base import Storage
    from torpor.storage.records import Checkpoint, Record, Thread, ThreadHead

__all__ = [
    "PATIENCE",
    "ContractKit",
    "all_pages",
    "append",
    "checkpoint",
    "entries_of",
    "head_of",
    "increment",
    "needs",
    "owned",
    "payloads",
    "put",
    "together",
]

T = TypeVar("T")
Test = TypeVar("Test", bound="Callable[..., None]")

PATIENCE = 30.0
"""Seconds after which a test stops waiting for what should have happened long ago."""

_needs: dict[FunctionType, str] = {}


def needs(ability: str) -> Callable[[Test], Test]:
    """Mark a test that is left out of a contract class whose attribute ``ability`` is false."""

    def mark(test: Test) -> Test:
        _needs[cast("FunctionType", test)] = ability
        return test

    return mark


class ContractKit:
    """Abilities and hooks of a storage under test; see ``StorageContract``."""

    ordered_listing: ClassVar[bool] = True
    second_instance: ClassVar[bool] = True
    second_process: ClassVar[bool] = True
    few_steps: ClassVar[bool] = True
    damageable: ClassVar[bool] = True
    severable: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for test, ability in _needs.items():
            name = test.__name__
            inherits_it = any(vars(base).get(name) is test for base in cls.__mro__)
            if inherits_it and getattr(cls, name) in {test, None}:
                setattr(cls, name, test if getattr(cls, ability) else None)

    def opener(self, storage: Storage) -> Callable[[], Storage]:
        """Return a function that opens one more storage on the place of ``storage``.

        For ``second_process`` it must be picklable: ``functools.partial(MyStorage, path)``.
        """
        msg = "define opener or declare second_instance = False and second_process = False"
        raise NotImplementedError(msg)

    def count_steps(self, storage: Storage, work: Callable[[], object]) -> int:
        """Return how often the storage had to wait while ``work`` ran.

        That is a count of round trips, or of statements and rows: whatever takes long each time
        though there is little to do. ``counting.sends`` counts it for clients of servers.
        """
        msg = "define count_steps or declare few_steps = False"
        raise NotImplementedError(msg)

    def count_effort(self, storage: Storage, work: Callable[[], object]) -> int:  # noqa: ARG002
        """Return how much was done while ``work`` ran, in a unit that each entry costs some of.

        By default it is memory (``counting.bytes_held``). Count rows that a server reads, or
        steps of its machine, where it tells them.
        """
        return bytes_held(work)

    def damage_record(self, storage: Storage, space: Space, key: str) -> None:
        """Change a byte of the stored record behind the storage's back."""
        msg = "define damage_record or declare damageable = False"
        raise NotImplementedError(msg)

    def damage_entry(self, storage: Storage, thread_id: str, seq: int) -> None:
        """Change a byte of a stored entry behind the storage's back."""
        msg = "define damage_entry or declare damageable = False"
        raise NotImplementedError(msg)

    def sever(self, storage: Storage) -> None:
        """Make the place of ``storage`` unusable, as a pulled disk or a lost server would."""
        msg = "define sever or declare severable = False"
        raise NotImplementedError(msg)


def put(key: str, value: Any = None, **fields: Any) -> Change:
    """Return the change that puts ``value`` under ``key``."""
    return Change(key=key, put=Put(data=codec.dumps(value)), at=time.time(), **fields)


def append(thread_id: str, *payloads: Any, **fields: Any) -> Change:
    """Return the change that appends ``payloads`` to a standalone thread."""
    return Change(
        key=thread_id,
        space=Space.THREADS,
        thread=ThreadWrite(id=thread_id, entries=entries_of(payloads)),
        at=time.time(),
        **fields,
    )


def owned(
    key: str,
    thread_id: str,
    *payloads: Any,
    value: Any = None,
    trim_before: int | None = None,
    **fields: Any,
) -> Change:
    """Return the change that puts ``value`` and appends to the thread that ``key`` owns."""
    write = ThreadWrite(id=thread_id, entries=entries_of(payloads), trim_before=trim_before)
    return put(key, value, thread=write, **fields)


def entries_of(payloads: Iterable[Any]) -> tuple[Entry, ...]:
    """Return new entries with these payloads."""
    return tuple(
        Entry(kind="note", payload=payload, at=time.time(), id=f"entry_{new_id()}")
        for payload in payloads
    )


def checkpoint(storage: Storage, key: str) -> Checkpoint:
    """Return a checkpoint that must exist."""
    found = storage.get_checkpoint(key)
    assert found is not None, f"no checkpoint {key!r}"
    return found


def head_of(storage: Storage, thread_id: str) -> ThreadHead:
    """Return the head of a thread that must exist."""
    head = storage.thread_head(thread_id)
    assert head is not None, f"no thread {thread_id!r}"
    return head


def payloads(thread: Thread | None) -> list[Any]:
    """Return the payloads of a thread that must exist."""
    assert thread is not None, "no such thread"
    return [entry.payload for entry in thread]


def all_pages(storage: Storage, space: Space, prefix: str = "", limit: int = 100) -> list[Record]:
    """Return what all pages of a listing hold, in the order in which they came."""
    listing = storage.list_checkpoints if space is Space.CHECKPOINTS else storage.list_threads
    found: list[Record] = []
    cursor: str | None = None
    while True:
        page = listing(prefix, cursor=cursor, limit=limit)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


def increment(storage: Storage, key: str) -> None:
    """Add 1 to the number under ``key``, however often others come first."""
    while True:
        found = storage.get_checkpoint(key)
        try:
            if found is None:
                storage.put_checkpoint(key, 1, expected_rev=0)
            else:
                storage.put_checkpoint(key, found.value + 1, expected_rev=found.rev)
        except ConflictError:
            continue
        return


def together(*jobs: Callable[[], T]) -> list[T]:
    """Run the jobs at once, each on a thread, and return their results in order.

    An error of a job is raised here.
    """
    start = threading.Barrier(len(jobs))
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def run(number: int, job: Callable[[], T]) -> None:
        try:
            start.wait(PATIENCE)
            results[number] = job()
        except BaseException as error:  # noqa: BLE001 - it is raised on the test's thread
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(number, job), daemon=True)
        for number, job in enumerate(jobs)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if errors:
        raise errors[0]
    assert len(results) == len(jobs), "a job did not end: is it waiting for a lock?"
    return [results[number] for number in range(len(jobs))]
