"""Storages that each break one rule of the contract and keep the others as well as they can."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar

from tests.storage.memory_kit import count_locks
from torpor.storage import (
    Change,
    Conflict,
    Due,
    Put,
    Record,
    Saved,
    Space,
    Storage,
    ThreadWrite,
)
from torpor.storage.keys import validate_key
from torpor.storage.memory import MemoryStorage
from torpor.storage.records import new_id
from torpor.storage.testing import StorageContract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.storage.records import Entry, Outcome

__all__ = ["Alone", "Broken", "broken_storages"]

FOR_EVER = float("inf")


class Alone(StorageContract):
    """The contract of a storage that is its own place."""

    second_instance = False
    second_process = False
    damageable = False
    severable = False

    def count_steps(self, storage: Storage, work: Callable[[], object]) -> int:
        """Count how often its lock is taken."""
        return count_locks(storage, work)


class Broken(MemoryStorage):
    """Breaks ``rule``, which the tests of ``contract`` notice."""

    rule: ClassVar[int]
    contract: ClassVar[type[StorageContract]] = Alone


def broken_storages() -> list[type[Broken]]:
    """Return every storage of this module that breaks a rule."""
    return Broken.__subclasses__()


class WritesInTwoSteps(Broken):
    """Writes a record first and its entries a little later."""

    rule = 1

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return [self._write(change) for change in changes]

    def _write(self, change: Change) -> Outcome:
        if change.thread is not None and change.put is not None:
            bare = replace(change, id=new_id(), thread=replace(change.thread, entries=()))
            [outcome] = super()._commit([bare])
            if not isinstance(outcome, Saved):
                return outcome
            time.sleep(0.001)
            change = replace(change, expected_rev=None)
        [outcome] = super()._commit([change])
        return outcome


class LastWriterWins(Broken):
    """Compares no revisions."""

    rule = 2

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return super()._commit([replace(change, expected_rev=None) for change in changes])


class SpoilsTheBatch(Broken):
    """Lets one conflict take the whole batch with it."""

    rule = 2

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        found = {space: self._read(space, [change.key for change in changes]) for space in Space}
        revs = [
            0 if not isinstance(record, Record) or record.deleted else record.rev
            for record in (found[change.space][i] for i, change in enumerate(changes))
        ]
        if any(c.expected_rev not in {None, rev} for c, rev in zip(changes, revs, strict=True)):
            return [
                Conflict(c.key, c.expected_rev, rev) for c, rev in zip(changes, revs, strict=True)
            ]
        return super()._commit(changes)


class ForgetsChanges(Broken):
    """Takes every change for a new one."""

    rule = 3

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return super()._commit([replace(change, id=new_id()) for change in changes])


class SavesNothing(Broken):
    """Says that it saved, and has nothing when it is opened again."""

    rule = 3

    class contract(Alone):  # noqa: N801 - the attribute of every storage here
        """Opens the place again."""

        second_instance = True

        def opener(self, storage: Storage) -> Callable[[], Storage]:
            """Open an empty one."""
            return type(storage)


class ForgetsDeletedKeys(Broken):
    """Leaves no tombstone."""

    rule = 4

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = super()._commit(changes)
        self._vacuum(FOR_EVER)
        return outcomes


class SkipsEqualPuts(Broken):
    """Gives a put of equal data the old revision."""

    rule = 4

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return [self._write(change) for change in changes]

    def _write(self, change: Change) -> Outcome:
        [stored] = self._read(change.space, [change.key])
        if isinstance(stored, Record) and change.put and stored.data == change.put.data:
            return Saved(stored.rev, stored.thread)
        [outcome] = super()._commit([change])
        return outcome


class VacuumsTooMuch(Broken):
    """Removes young tombstones too."""

    rule = 4

    def _vacuum(self, before: float) -> int:
        del before
        return super()._vacuum(FOR_EVER)


class TakesLaterMetadata(Broken):
    """Lets every append replace a thread's metadata."""

    rule = 5

    def __init__(self) -> None:
        super().__init__()
        self._metadata: dict[str, object] = {}

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        for change in changes:
            if change.thread is not None and change.thread.metadata is not None:
                self._metadata[change.key] = change.thread.metadata
        return super()._commit(changes)

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        return [self._with_metadata(record) for record in super()._read(space, keys)]

    def _with_metadata(self, record: Record | None) -> Record | None:
        if record is None or record.thread is None or record.key not in self._metadata:
            return record
        head = replace(record.thread, metadata=json.loads(json.dumps(self._metadata[record.key])))
        return replace(record, thread=head)


class RenamesEntries(Broken):
    """Gives entries ids of its own."""

    rule = 5

    def _read_entries(self, *args: Any, **options: Any) -> Sequence[Entry]:
        entries = super()._read_entries(*args, **options)
        return [replace(entry, id=f"entry_{number}") for number, entry in enumerate(entries)]


class OwnsNoThreads(Broken):
    """Lets everybody write to an agent's thread."""

    rule = 6

    def _require_standalone(self, thread_id: str) -> None:
        validate_key(thread_id)


class LosesThePointer(Broken):
    """Takes the thread away from a record that is put without one."""

    rule = 6

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return super()._commit(
            [
                change
                if change.thread or change.put is None
                else replace(change, thread=ThreadWrite(id=f"{change.key}#{new_id()}"))
                for change in changes
            ]
        )


class RereadsHistory(Broken):
    """Reads a whole thread to append one entry to it."""

    rule = 7

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        for change in changes:
            if change.thread is not None:
                self._read_entries(change.thread.id, 0, 10**9, kinds=None, limit=None, newest=False)
        return super()._commit(changes)


class TakesFailureForAbsence(Broken):
    """Says that a key is missing when its place can't be reached."""

    rule = 8
    lost = False

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        return [None] * len(keys) if self.lost else super()._read(space, keys)

    class contract(Alone):  # noqa: N801 - the attribute of every storage here
        """Takes the place away."""

        severable = True

        def sever(self, storage: Storage) -> None:
            """Let it be lost."""
            assert isinstance(storage, TakesFailureForAbsence)
            storage.lost = True


class FoldsCase(Broken):
    """Takes keys that differ in letter case for one."""

    rule = 9

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        return super()._read(space, [key.lower() for key in keys])

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return [
            outcome
            for change in changes
            for outcome in super(FoldsCase, self)._commit([replace(change, key=change.key.lower())])
        ]


class TakesPrefixForPattern(Broken):
    """Gives characters of a prefix a meaning of their own."""

    rule = 9

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        records = super()._list(space, "", after, 10**6)
        return [record for record in records if fnmatchcase(record.key, f"{prefix}*")][:limit]


class ReformatsDocuments(Broken):
    """Stores what the JSON means, not what it is."""

    rule = 10

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        return [
            replace(record, data=json.dumps(json.loads(record.data), sort_keys=True))
            if record is not None and record.data is not None
            else record
            for record in super()._read(space, keys)
        ]


class VerifiesNothing(Broken):
    """Returns damaged bytes as if they were sound."""

    rule = 10

    class contract(Alone):  # noqa: N801 - the attribute of every storage here
        """Damages what is stored."""

        damageable = True

        def damage_record(self, storage: Storage, space: Space, key: str) -> None:
            """Write something else in its place."""
            if space is Space.CHECKPOINTS:
                storage.put_checkpoint(key, "damaged")

        def damage_entry(self, storage: Storage, thread_id: str, seq: int) -> None:
            """Change nothing."""


class TakesTwoChangesOfAKey(Broken):
    """Commits whatever a batch holds, one after the other."""

    rule = 11

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Commit one by one."""
        return [outcome for change in changes for outcome in super(Broken, self).commit([change])]


class GoesRowByRow(Broken):
    """Takes its lock for each row."""

    rule = 11

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for change in changes:
            outcomes += super()._commit([change])
        return outcomes


class NeverMovesWakeUps(Broken):
    """Keeps the first wake-up time of each key in its index."""

    rule = 12

    def __init__(self) -> None:
        super().__init__()
        self._index: dict[tuple[Space, str], float] = {}

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        for change in changes:
            if change.wake_at is not None:
                self._index.setdefault((change.space, change.key), change.wake_at)
        return super()._commit(changes)

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        due = [Due(*place, at) for place, at in self._index.items() if at <= before]
        return sorted(due, key=lambda item: item.wake_at)[:limit]


class WakesTooLate(Broken):
    """Leaves out what is due at this very moment."""

    rule = 12

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        return [due for due in super()._list_due(before, limit) if due.wake_at < before]


class ForgetsThreadsWakeUps(Broken):
    """Indexes the wake-up times of checkpoints only."""

    rule = 12

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        due = super()._list_due(before, 10**6)
        return [item for item in due if item.space is Space.CHECKPOINTS][:limit]


class ChecksThenWrites(Broken):
    """Compares the revision first, and writes when others may have."""

    rule = 13

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return [self._write(change) for change in changes]

    def _write(self, change: Change) -> Outcome:
        [stored] = self._read(change.space, [change.key])
        found = 0 if stored is None or stored.deleted else stored.rev
        if change.expected_rev not in {None, found}:
            return Conflict(change.key, change.expected_rev, found)
        time.sleep(0.001)
        [outcome] = super()._commit([replace(change, expected_rev=None)])
        return outcome


class RemembersReads(Broken):
    """Shares its place with others, and does not look again at what it has read once."""

    rule = 13

    def __init__(self, place: MemoryStorage | None = None) -> None:
        super().__init__()
        self.place = MemoryStorage() if place is None else place
        self._seen: dict[tuple[Space, str], Record | None] = {}

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        for key in keys:
            if (space, key) not in self._seen:
                [self._seen[space, key]] = self.place._read(space, [key])
        return [self._seen[space, key] for key in keys]

    def _read_entries(self, *args: Any, **options: Any) -> Sequence[Entry]:
        return self.place._read_entries(*args, **options)

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        for change in changes:
            self._seen.pop((change.space, change.key), None)
        return self.place._commit(changes)

    class contract(Alone):  # noqa: N801 - the attribute of every storage here
        """Opens the place again."""

        second_instance = True

        def opener(self, storage: Storage) -> Callable[[], Storage]:
            """Open another one on the shared place."""
            assert isinstance(storage, RemembersReads)
            return lambda: RemembersReads(storage.place)


class RestoresAnew(Broken):
    """Takes what is restored for news: counts its revision on, at the time of the change."""

    rule = 14

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return super()._commit([self._as_put(change) for change in changes])

    def _as_put(self, change: Change) -> Change:
        if change.restore is None:
            return change
        record, head = change.restore.record, change.restore.record.thread
        return Change(
            key=change.key,
            space=change.space,
            expected_rev=change.expected_rev,
            put=None if record.data is None else Put(data=record.data, kind=record.kind),
            thread=ThreadWrite(id=head.id, entries=change.restore.entries) if head else None,
            wake_at=record.wake_at,
            at=change.at,
            id=change.id,
        )


class RestoresOverEntries(Broken):
    """Puts restored entries wherever they say, over others or behind a gap."""

    rule = 14

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        for change in changes:
            head = change.restore.record.thread if change.restore else None
            if head is not None and change.expected_rev is None:
                self._journals.pop(head.id, None)
                self._shelves[change.space].records.pop(change.key, None)
        return super()._commit(changes)


class RestoresWithoutWakeUp(Broken):
    """Forgets when a restored record has something to do."""

    rule = 14

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return super()._commit(
            [
                change
                if change.restore is None
                else replace(
                    change,
                    restore=replace(
                        change.restore, record=replace(change.restore.record, wake_at=None)
                    ),
                )
                for change in changes
            ]
        )
