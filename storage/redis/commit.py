"""A batch of changes in few round trips.

Each change is planned for what is known of its record, and carried out by a script that first
compares the record. If it is another one, the script answers with it, and the change is planned
again. So the first round trip is enough unless another process wrote the record meanwhile.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from torpor.storage.errors import CorruptRecordError, StorageError, StorageUnavailableError
from torpor.storage.plan import Write, plan
from torpor.storage.records import Rejected
from torpor.storage.redis.documents import Stored, encode_record
from torpor.storage.redis.records import found_of
from torpor.storage.redis.writing import write_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Change, Outcome
    from torpor.storage.redis.known import KnownRecords
    from torpor.storage.redis.layout import Layout
    from torpor.storage.redis.records import Found
    from torpor.storage.redis.server import Command, Server

__all__ = ["Committer"]

_MAX_ENTRIES = 500_000  # at two arguments each; a command has 1,048,576 at most
_FEW = 5
_UNSTORABLE = (TypeError, ValueError, OverflowError, RecursionError)


class Committer:
    """Carries out changes. ``ttl`` is in milliseconds, ``timeout`` in seconds."""

    def __init__(
        self,
        *,
        server: Server,
        layout: Layout,
        known: KnownRecords,
        ttl: int | None,
        timeout: float,
    ) -> None:
        self._server = server
        self._known = known
        self._layout = layout
        self._ttl = ttl
        self._timeout = timeout

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Carry out ``changes`` and return their outcomes."""
        deadline = time.monotonic() + self._timeout
        tasks = [_Task(change, self._layout, self._ttl) for change in changes]
        for task in tasks:
            task.guess(self._known.get(task.change.space, task.change.key))
        pending = [task for task in tasks if task.outcome is None]
        for attempt in itertools.count(1):
            if not pending:
                break
            if attempt > _FEW and time.monotonic() > deadline:
                msg = f"{self._server.place}: others change the same records all the time"
                raise StorageUnavailableError(msg)
            replies = self._server.run([task.command for task in pending])
            for task, reply in zip(pending, replies, strict=True):
                task.take(reply)
            pending = [task for task in pending if task.outcome is None]
        for task in tasks:
            self._remember(task)
        return [task.outcome for task in tasks if task.outcome is not None]

    def _remember(self, task: _Task) -> None:
        change = task.change
        if task.stored is None:
            self._known.forget(change.space, change.key)
        else:
            self._known.put(change.space, task.stored)


class _Task:
    """One change on its way: the command to send next, then what came of it."""

    def __init__(self, change: Change, layout: Layout, ttl: int | None) -> None:
        self.change = change
        self.outcome: Outcome | None = None
        self.stored: Stored | None = None
        self._layout = layout
        self._keys = layout.of(change.space, change.key)
        self.command: Command = ("GET", self._keys.record)
        self._ttl = ttl
        self._write: Write | None = None
        self._written: Stored | None = None

    def guess(self, known: Stored | None) -> None:
        """Plan for what may be stored, if that leads to a write, which will find out."""
        if self._refuse_too_many():
            return
        if known is not None or self.change.expected_rev == 0:
            decision = plan(self.change, known.record if known else None)
            if isinstance(decision, Write):
                self._send(decision, known)

    def take(self, reply: Any) -> None:
        """Go on from what the server answered: 1 for a write, or what is stored."""
        if reply == 1 and self._write is not None:
            self.stored = self._written
            self.outcome = self._write.outcome
        else:
            self._decide(found_of(self.change.key, reply))

    def _refuse_too_many(self) -> bool:
        written = self.change.restore or self.change.thread
        if written is None or len(written.entries) <= _MAX_ENTRIES:
            return False
        msg = f"{self.change.key!r}: a change has {_MAX_ENTRIES:,} entries at most in Redis"
        self.outcome = Rejected(StorageError(msg))
        return True

    def _decide(self, stored: Found) -> None:
        if isinstance(stored, CorruptRecordError):
            self.outcome = Rejected(stored)
            return
        decision = plan(self.change, stored.record if stored else None)
        if isinstance(decision, Write):
            self._send(decision, stored)
        else:
            self.stored = stored
            self.outcome = decision

    def _send(self, write: Write, stored: Stored | None) -> None:
        try:
            header, value = encode_record(write.record)
            self.command = write_command(
                self._layout, self._keys, write, stored, value=value, ttl=self._ttl
            )
        except _UNSTORABLE as error:
            refusal = StorageError(f"{self.change.key!r} cannot be stored: {error}")
            refusal.__cause__ = error
            self.outcome = Rejected(refusal)
            return
        self._write = write
        self._written = Stored(header, write.record)
