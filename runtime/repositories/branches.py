"""Branches of agents: forks, named snapshots, and the way back to one.

A branch is a copy: the state and every entry of the thread, under a key and a revision of its
own. So it costs as much as the agent's history is long, once, and nothing that happens to either
side afterwards, trimming and deleting included, reaches the other. ``seq``, ``id`` and ``at`` of
entries stay the same.

What the runtime keeps for an agent (its outbox, its inbox marks, its schedules) is not its state:
a fork begins without it, or messages would be sent twice, and a rewound agent keeps its own.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torpor.address import address_of, split_address
from torpor.clock import Clock, SystemClock
from torpor.ref import AgentRef
from torpor.repositories.index import keys_under
from torpor.storage import Change, Conflict, Put, Record, Rejected, Restoration
from torpor.storage.errors import ConflictError, CorruptRecordError, NotFoundError, StorageError
from torpor.storage.keys import validate_key
from torpor.storage.records import new_id
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff, retrying
from torpor.system import join, split

if TYPE_CHECKING:
    from torpor.storage import Checkpoint, Entry, Storage, ThreadHead

__all__ = ["Branches", "Snapshot"]

_SNAPSHOT = "snapshot:"
_SNAPSHOT_KIND = "snapshot/"
_UNFINISHED = "torpor.unfinished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A saved point of an agent. ``entries``: the ``rev`` of its thread then. ``at``: when."""

    name: str
    agent: str
    at: float
    entries: int


@dataclass(frozen=True, slots=True)
class _Copy:
    """A record and the entries of its thread, as they stood together."""

    record: Checkpoint
    entries: tuple[Entry, ...]


class Branches:
    """Forks, snapshots and rewinds agents on a bare storage, and those of a running runtime.

    An agent is named by its ``AgentRef`` or by its address, ``kind/key``. By its reference, one
    that is awake is saved and hibernates first, so that nothing it has done is missing; by its
    address, what is stored counts: all that it has answered, under ``durability="turn"``.
    """

    def __init__(self, storage: Storage, clock: Clock | None = None) -> None:
        self._storage = storage
        self._clock = clock or SystemClock()

    # -- forks --------------------------------------------------------------------------------

    def fork(
        self,
        agent: AgentRef[Any] | str,
        new_key: str,
        *,
        partition: str | None = None,
        snapshot: str | None = None,
    ) -> str:
        """Make a new agent of the same kind from an agent, or from its ``snapshot``.

        It gets the source's partition unless ``partition`` says another. Returns its address.
        Until it is complete, messages to it get a ``ThawError``; after a crash in between, fork
        again. Raises ``NotFoundError`` if there is no such agent or snapshot, ``ConflictError``
        if there is an agent of that key.
        """
        source = self.address(agent)
        kind, own_partition, _ = split_address(source)
        target = address_of(kind, partition or own_partition, new_key)
        if snapshot is None:
            self._settle(agent)
        key = source if snapshot is None else _snapshot_key(source, snapshot)
        found = self._copy(key, ("Agent", source) if snapshot is None else ("Snapshot", snapshot))
        self._create(found, target, kind)
        return target

    # -- snapshots ----------------------------------------------------------------------------

    def snapshot(self, agent: AgentRef[Any] | str, name: str) -> Snapshot:
        """Save the agent as it is now under ``name``, and return what was saved.

        Raises ``NotFoundError`` if it is not stored, ``ConflictError`` if it has such a snapshot.
        """
        address = self.address(agent)
        self._settle(agent)
        found = self._copy(address, ("Agent", address))
        record = self._create(
            found, _snapshot_key(address, name), f"{_SNAPSHOT_KIND}{found.record.kind}"
        )
        return _snapshot(address, record)

    def snapshots(self, agent: AgentRef[Any] | str) -> list[Snapshot]:
        """Return the agent's snapshots, oldest first. They outlive the agent."""
        address = self.address(agent)
        keys = list(keys_under(self._storage, _snapshot_prefix(address)))
        found: list[Snapshot] = []
        for record in self._storage.read(keys) if keys else ():
            if isinstance(record, StorageError):
                raise record
            if record is not None and record.kind != _UNFINISHED:
                found.append(_snapshot(address, record))
        return sorted(found, key=lambda snapshot: (snapshot.at, snapshot.name))

    def copy_snapshot(self, agent: AgentRef[Any] | str, name: str, new_name: str) -> None:
        """Save the same point under another name as well."""
        address = self.address(agent)
        found = self._copy(_snapshot_key(address, name), ("Snapshot", name))
        self._create(found, _snapshot_key(address, new_name), found.record.kind)

    def delete_snapshot(self, agent: AgentRef[Any] | str, name: str) -> None:
        """Remove a snapshot. No error if there is none."""
        self._storage.delete_checkpoint(_snapshot_key(self.address(agent), name))

    def rewind(self, agent: AgentRef[Any] | str, name: str) -> None:
        """Make the agent again what it was when it was saved under ``name``, in one step.

        State and thread are those of the snapshot; a crash leaves the agent as it was, or
        rewound. A turn that another process runs meanwhile conflicts and is run again on the
        rewound agent. Take a snapshot first if what is undone may be wanted again. An agent that
        was deleted comes back. Raises ``NotFoundError``.
        """
        address = self.address(agent)
        found = self._copy(_snapshot_key(address, name), ("Snapshot", name))
        kind = found.record.kind.removeprefix(_SNAPSHOT_KIND)
        deadline = time.monotonic() + MAX_RETRY_SECONDS
        attempt = 0
        while True:
            self._settle(agent)
            now = retrying()(self._storage.get_checkpoint, address)
            if now is None or now.kind == _UNFINISHED:
                self._create(found, address, kind)
                return
            section, _ = split(now.data, now.key)
            record = self._record(found, address, kind, now.rev + 1)
            record = replace(record, data=join(section, record.data or "{}"), wake_at=now.wake_at)
            outcome = self._restore(record, found, now.rev)
            if outcome is None:
                self._settle(agent)  # a copy that was thawed meanwhile is of before
                return
            attempt += 1
            if time.monotonic() > deadline:
                raise outcome
            time.sleep(backoff(attempt))

    def address(self, agent: AgentRef[Any] | str) -> str:
        """Return the address of an agent."""
        return agent.address if isinstance(agent, AgentRef) else validate_key(agent)

    # -- inside -------------------------------------------------------------------------------

    def _settle(self, agent: AgentRef[Any] | str) -> None:
        if isinstance(agent, AgentRef):
            agent.hibernate()

    def _copy(self, key: str, missing: tuple[str, str]) -> _Copy:
        """Read a record and its whole thread as they stood at one moment."""
        while True:
            record = retrying()(self._storage.get_checkpoint, key)
            if record is None or record.kind == _UNFINISHED:
                raise NotFoundError(*missing)
            head = record.thread
            try:
                entries = (
                    ()
                    if head is None
                    else retrying()(self._storage.read_entries, head.id, head.start, head.rev)
                )
            except CorruptRecordError:
                now = retrying()(self._storage.get_checkpoint, key)
                if now is not None and now.rev == record.rev:
                    raise
                continue  # no damage: it was trimmed or replaced between the two readings
            _, data = split(record.data, key)
            if not data.startswith("{"):
                raise CorruptRecordError(key, "its state is no object")
            return _Copy(replace(record, data=data), tuple(entries))

    def _create(self, found: _Copy, key: str, kind: str) -> Record:
        """Store a copy under a key that has nothing, or what an interrupted one left.

        First what nobody takes for an agent: its revision is behind all that the key ever had.
        """
        now = retrying()(self._storage.get_checkpoint, key)
        expected = now.rev if now is not None and now.kind == _UNFINISHED else 0
        change = Change(
            key=key,
            expected_rev=expected,
            put=Put(data="{}", kind=_UNFINISHED),
            at=self._clock.time(),
        )
        [outcome] = retrying()(self._storage.commit, [change])
        if isinstance(outcome, Rejected):
            raise outcome.error
        if isinstance(outcome, Conflict):
            raise ConflictError(key, expected=expected, found=outcome.found)
        record = self._record(found, key, kind, outcome.rev + 1)
        error = self._restore(record, found, outcome.rev)
        if error is not None:
            raise error
        return record

    def _record(self, found: _Copy, key: str, kind: str, rev: int) -> Record:
        head: ThreadHead | None = found.record.thread
        return Record(
            key=key,
            rev=rev,
            change_id="",
            updated_at=self._clock.time(),
            kind=kind,
            version=found.record.version,
            data=found.record.data,
            thread=None if head is None else replace(head, id=f"{key}#{new_id()}"),
        )

    def _restore(self, record: Record, found: _Copy, expected: int) -> ConflictError | None:
        """Store ``record`` and its entries in place of revision ``expected``, or say why not."""
        change = Change(
            key=record.key,
            expected_rev=expected,
            restore=Restoration(record=record, entries=found.entries),
            at=record.updated_at,
        )
        commit = retrying()
        [outcome] = commit(self._storage.commit, [change])
        if isinstance(outcome, Rejected):
            raise outcome.error
        if not isinstance(outcome, Conflict):
            return None
        error = ConflictError(record.key, expected=expected, found=outcome.found)
        if commit.statistics["attempt_number"] > 1:
            error.outcome = "unknown"
            raise error
        return error


def _snapshot_prefix(address: str) -> str:
    escaped = re.sub("[%/]", lambda match: f"%{ord(match[0]):X}", address)
    return f"{_SNAPSHOT}{escaped}/"


def _snapshot_key(address: str, name: str) -> str:
    validate_key(name)
    return validate_key(_snapshot_prefix(address) + name)


def _snapshot(address: str, record: Record) -> Snapshot:
    return Snapshot(
        name=record.key.removeprefix(_snapshot_prefix(address)),
        agent=address,
        at=record.updated_at,
        entries=record.thread.rev if record.thread else 0,
    )
