"""A storage that misbehaves on demand, to test what a failing storage does to a program.

It wraps any storage and obeys a script, one fault per call of an operation::

    faulty = FaultyStorage(MemoryStorage())
    faulty.fail_next("commit", after=True)      # written, but the caller cannot know
    faulty.tear_next(applied=1)                 # the batch breaks off after its first change
    with faulty.hang_next("commit") as hang:    # stuck until the block ends
        hang.entered.wait(5)
    with faulty.disconnected():
        ...                                     # whatever is asked: StorageUnavailableError

Operations are the primitives that a backend implements: ``put_checkpoint`` and all other writes
are a ``"commit"``, ``get_checkpoint`` and ``thread_head`` a ``"read"``. What tools ask beyond the
contract (``torpor.storage.inspection``) is an operation too.
"""

# ruff: noqa: SLF001 - the public operations of the wrapped storage would check a second time
# pyright: reportPrivateUsage=false

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, get_args

from torpor.storage.base import Storage
from torpor.storage.errors import StorageUnavailableError
from torpor.storage.faults import (
    Conflicts,
    Dice,
    ErrorSource,
    Fail,
    Fault,
    FaultKind,
    Hang,
    Operation,
    Slow,
    Torn,
)

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from torpor.storage.errors import StorageError
    from torpor.storage.inspection import Finding
    from torpor.storage.notifier import Notifier
    from torpor.storage.records import Change, Due, Entry, Outcome, Record, Space

__all__ = ["Conflicts", "Fail", "Fault", "FaultyStorage", "Hang", "Operation", "Slow", "Torn"]


class FaultyStorage(Storage):
    """Wraps ``inner`` and misbehaves by ``script``: for each operation its next faults in order.

    None in a script lets one call pass; calls beyond its end pass too. ``calls`` counts the
    calls of each operation, failed ones included; with ``record`` ``batches`` keeps the changes
    of each commit. ``delay`` is what ``slow_next`` waits with. ``inner`` was opened by the
    caller and stays open when this one is closed; whatever hangs then ends with
    ``StorageClosedError``. Safe for many threads.
    """

    name = "faulty"

    def __init__(
        self,
        inner: Storage,
        script: Mapping[Operation, Iterable[Fault | None]] | None = None,
        *,
        delay: Callable[[float], None] = time.sleep,
        record: bool = False,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.durable = inner.durable
        self.timeout = inner.timeout
        self.max_document_bytes = inner.max_document_bytes
        self.calls: Counter[Operation] = Counter()
        self.batches: list[tuple[Change, ...]] = []
        self._delay = delay
        self._record = record
        self._dice: Dice | None = None
        self._lock = threading.Lock()
        self._hangs: list[Hang] = []
        self._refused: float = 0
        self._faults: dict[Operation, deque[tuple[Fault, Collection[str] | None]]] = {
            operation: deque() for operation in get_args(Operation)
        }
        for operation, faults in (script or {}).items():
            for fault in faults:
                self.next(operation, fault or Fault())

    @classmethod
    def seeded(  # noqa: PLR0913 - all but the first three are keywords
        cls,
        inner: Storage,
        seed: int | str,
        rates: Mapping[FaultKind, float],
        *,
        slow_seconds: float = 0.01,
        delay: Callable[[float], None] = time.sleep,
        record: bool = False,
    ) -> Self:
        """Return a storage whose calls misbehave at random, each kind of fault at its rate.

        The n-th call of an operation meets the same fault in every run with the same ``seed``.
        ``"torn"`` and ``"conflict"`` concern commits. Raises ``ValueError`` for rates that are
        negative or add up to more than 1.
        """
        faulty = cls(inner, delay=delay, record=record)
        faulty._dice = Dice(seed, rates, Slow(slow_seconds, delay))
        return faulty

    # -- the script ---------------------------------------------------------------------------

    def next(
        self, operation: Operation, fault: Fault, *, keys: Collection[str] | None = None
    ) -> None:
        """Add ``fault`` for the next call of ``operation`` that has none yet.

        With ``keys``: for the next such call that concerns one of these keys or thread ids.
        """
        if fault.commit_only and operation != "commit":
            msg = f"{fault} can only befall a commit, not {operation!r}"
            raise ValueError(msg)
        with self._lock:
            if isinstance(fault, Hang):
                self._hangs.append(fault)
            self._faults[operation].append((fault, keys))

    def fail_next(
        self,
        operation: Operation,
        *,
        error: ErrorSource = None,
        after: bool = False,
        times: int = 1,
        keys: Collection[str] | None = None,
    ) -> None:
        """Let the next ``times`` calls raise, before or ``after`` the operation was done."""
        for _ in range(times):
            self.next(operation, Fail(error, after), keys=keys)

    def hang_next(
        self, operation: Operation, *, after: bool = False, keys: Collection[str] | None = None
    ) -> Hang:
        """Let the next call hang until the returned handle is released."""
        hang = Hang(after=after)
        self.next(operation, hang, keys=keys)
        return hang

    def slow_next(self, operation: Operation, seconds: float, *, times: int = 1) -> None:
        """Let the next ``times`` calls wait for ``seconds`` first."""
        for _ in range(times):
            self.next(operation, Slow(seconds, self._delay))

    def tear_next(self, applied: int, *, error: ErrorSource = None) -> None:
        """Let the next commit apply only its first ``applied`` changes, and then raise."""
        self.next("commit", Torn(applied, error))

    def conflict_next(self, *, keys: Collection[str] | None = None, times: int = 1) -> None:
        """Let the next ``times`` commits answer ``Conflict``; see ``Conflicts``."""
        for _ in range(times):
            self.next("commit", Conflicts(keys), keys=keys)

    def disconnect(self, operations: int | None = None) -> None:
        """Refuse the next ``operations`` calls of any kind; None: until ``reconnect``."""
        with self._lock:
            self._refused = float("inf") if operations is None else operations

    def reconnect(self) -> None:
        """Refuse no more calls."""
        self.disconnect(0)

    @contextmanager
    def disconnected(self) -> Generator[None]:
        """Refuse every call within the block with ``StorageUnavailableError``."""
        self.disconnect()
        try:
            yield
        finally:
            self.reconnect()

    # -- the operations -----------------------------------------------------------------------

    def _arrive(self, operation: Operation, keys: Collection[str] = ()) -> Fault:
        with self._lock:
            self.calls[operation] += 1
            if self._refused > 0:
                self._refused -= 1
                return Fail(StorageUnavailableError("disconnected"))
            waiting = self._faults[operation]
            for position, (fault, only) in enumerate(waiting):
                if only is None or not set(only).isdisjoint(keys):
                    del waiting[position]
                    return fault
            return self._dice.roll(operation) if self._dice else Fault()

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | StorageError | None]:
        return self._arrive("read", keys).around(lambda: self.inner._read(space, keys))

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        fault = self._arrive("read_entry_ids", [thread_id for thread_id, _ in places])
        return fault.around(lambda: self.inner._read_entry_ids(places))

    def _read_entries(  # noqa: PLR0913 - see the base class
        self,
        thread_id: str,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None,
        limit: int | None,
        newest: bool,
    ) -> Sequence[Entry]:
        return self._arrive("read_entries", [thread_id]).around(
            lambda: self.inner._read_entries(
                thread_id, start, stop, kinds=kinds, limit=limit, newest=newest
            )
        )

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if self._record:
            self.batches.append(tuple(changes))
        fault = self._arrive("commit", [change.key for change in changes])
        return fault.around_commit(changes, self.inner._commit)

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        return self._arrive("list").around(lambda: self.inner._list(space, prefix, after, limit))

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        return self._arrive("list_due").around(lambda: self.inner._list_due(before, limit))

    def _vacuum(self, before: float) -> int:
        return self._arrive("vacuum").around(lambda: self.inner._vacuum(before))

    def _list_keys(
        self, space: Space, after: str | None, limit: int, *, tombstones: bool
    ) -> Sequence[str]:
        return self._arrive("list_keys").around(
            lambda: self.inner._list_keys(space, after, limit, tombstones=tombstones)
        )

    def _list_thread_ids(self, after: str | None, limit: int) -> Sequence[str] | None:
        return self._arrive("list_thread_ids").around(
            lambda: self.inner._list_thread_ids(after, limit)
        )

    def _inspect(self) -> Iterator[Finding]:
        # All at once, so that it is over before what is to happen after it.
        yield from self._arrive("inspect").around(lambda: list(self.inner._inspect()))

    def notifier(self) -> Notifier | None:
        """As the wrapped storage's, and no fault befalls it: news are an optional service."""
        return self.inner.notifier()

    def _close(self) -> None:
        with self._lock:
            for hang in self._hangs:
                hang.abandon()
