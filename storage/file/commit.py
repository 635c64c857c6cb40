"""Writing one batch of changes into a file store."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torpor.storage.errors import (
    OwnedThreadError,
    StorageError,
    StorageUnavailableError,
    ThreadMismatchError,
)
from torpor.storage.file import documents
from torpor.storage.file.documents import OwnedThread
from torpor.storage.file.due import DueHint
from torpor.storage.file.io import translated_errors
from torpor.storage.file.layout import hash_of, stripe_of
from torpor.storage.file.log import EntryLog
from torpor.storage.plan import Write, plan
from torpor.storage.records import Rejected, Space

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from torpor.storage.file.due import DueIndex
    from torpor.storage.file.io import DurableFiles
    from torpor.storage.file.layout import Layout
    from torpor.storage.file.lock import FileLocks
    from torpor.storage.file.records import RecordReader
    from torpor.storage.file.vacuum import Vacuum
    from torpor.storage.records import Change, Conflict, Outcome, Record, Saved, ThreadHead

__all__ = ["Committer"]


class Committer:
    """Writes batches in five steps; what a step writes is forced to the disk together.

    1. Decide each change against what is stored. 2. Append entries behind those that the stored
    heads cover, where nobody sees them. 3. Add hints of new ``wake_at``. 4. Replace the records:
    this makes each change visible, whole. 5. Remove what they no longer need.

    A crash before the fourth step leaves entries that the next append overwrites and hints that
    say too much; a crash after it leaves what ``Vacuum`` removes.
    """

    def __init__(  # noqa: PLR0913 - the parts of a store, all keywords
        self,
        *,
        layout: Layout,
        files: DurableFiles,
        records: RecordReader,
        due: DueIndex,
        locks: FileLocks,
        vacuum: Vacuum,
    ) -> None:
        self._layout = layout
        self._files = files
        self._records = records
        self._due = due
        self._locks = locks
        self._vacuum = vacuum

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Return the outcome of each change, in order. Raises if outcomes are unknown."""
        outcomes: dict[str, Outcome] = {}
        with self._locks.hold(stripe for change in changes for stripe in _stripes(change)):
            steps = self._decide_all(changes, outcomes)
            steps = self._append_all(steps, outcomes)
            self._add_hints(steps)
            self._files.publish({self._layout.record(*step.place): step.document for step in steps})
            with suppress(OSError):  # all is saved, and what may be left over harms nobody
                self._tidy(steps)
        with suppress(StorageError, OSError):
            for step in steps:
                if step.write.drop_thread is not None:
                    self._vacuum.sweep_thread(hash_of(step.write.drop_thread))
        return [outcomes[change.id] for change in changes]

    # -- 1: decide ----------------------------------------------------------------------------

    def _decide_all(self, changes: Sequence[Change], outcomes: dict[str, Outcome]) -> list[_Step]:
        steps: list[_Step] = []
        for change in changes:
            with _rejecting(change, outcomes):
                decision = self._decide(change)
                if isinstance(decision, _Step):
                    steps.append(decision)
                    outcomes[change.id] = decision.write.outcome
                else:
                    outcomes[change.id] = decision
        return steps

    def _decide(self, change: Change) -> _Step | Saved | Conflict:
        place = change.space, hash_of(change.key)
        stored = self._records.find(*place, change.key)
        if isinstance(stored, OwnedThread):
            if self._records.is_owned(stored):
                raise OwnedThreadError(change.key, f"owned by {stored.owner!r}: send it a message")
            stored = None
        decision = plan(change, stored)
        if isinstance(decision, Write):
            return self._encode(_Step(change, place, stored, decision))
        if stored is not None and stored.change_id == change.id:
            # The commit that wrote it may have failed while it forced its name to the disk.
            self._files.sync([self._layout.record(*place).parent])
        return decision

    def _encode(self, step: _Step) -> _Step:
        write = step.write
        try:
            return replace(
                step,
                document=documents.encode(write.record),
                lines=self._log(step).lines_of(write.entries) if write.entries else b"",
            )
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"{step.change.key!r} has no JSON form: {error}"
            raise StorageError(msg) from error

    # -- 2: append ----------------------------------------------------------------------------

    def _append_all(self, steps: list[_Step], outcomes: dict[str, Outcome]) -> list[_Step]:
        self._make_folders(steps, outcomes)
        appending = [step for step in _accepted(steps, outcomes) if step.lines]
        for step in appending:
            with _rejecting(step.change, outcomes):
                self._log(step).append(step.covered, step.lines)
        appended = _accepted(appending, outcomes)
        self._files.sync(self._log(step).path for step in appended)
        self._files.sync(self._log(step).path.parent for step in appended if step.covered is None)
        return _accepted(steps, outcomes)

    def _make_folders(self, steps: Sequence[_Step], outcomes: dict[str, Outcome]) -> None:
        """Make the folders of new threads. An owned one says whose it is before it has entries."""
        beginning = [step for step in steps if step.begins_thread]
        for step in beginning:
            with _rejecting(step.change, outcomes):
                self._make_folder(step)
        self._files.publish(
            {
                self._layout.record(Space.THREADS, step.thread_name): documents.encode_owned(
                    OwnedThread(step.head.id, step.change.key)
                )
                for step in _accepted(beginning, outcomes)
                if step.change.space is Space.CHECKPOINTS
            }
        )
        if beginning:
            self._files.sync([self._layout.threads])

    def _make_folder(self, step: _Step) -> None:
        thread_id = step.head.id
        (self._layout.threads / step.thread_name).mkdir(exist_ok=True)
        if step.change.space is Space.CHECKPOINTS and self._records.record(
            Space.THREADS, step.thread_name, thread_id
        ):
            raise ThreadMismatchError(thread_id, "a standalone thread has this id")

    # -- 3 and 5: hints and leftovers ---------------------------------------------------------

    def _add_hints(self, steps: Sequence[_Step]) -> None:
        hints = [new for old, new in (step.hints() for step in steps) if new and new != old]
        for hint in hints:
            self._due.add(hint)
        if hints:
            self._files.sync([self._due.folder])

    def _tidy(self, steps: Sequence[_Step]) -> None:
        for step in steps:
            old, new = step.hints()
            if old and old != new:
                self._due.remove(old)
            if step.write.trim_before is not None:
                self._log(step).trim(step.head, self._files)

    def _log(self, step: _Step) -> EntryLog:
        return EntryLog(self._layout, step.head.id)


@dataclass(frozen=True, slots=True)
class _Step:
    """One change that is to be written."""

    change: Change
    place: tuple[Space, str]
    stored: Record | None
    write: Write
    document: bytes = b""
    lines: bytes = b""

    @property
    def head(self) -> ThreadHead:
        """The new head of the thread that is written to."""
        head = self.write.record.thread
        assert head is not None
        return head

    @property
    def thread_name(self) -> str:
        return hash_of(self.head.id)

    @property
    def covered(self) -> ThreadHead | None:
        """The stored head of that thread, None if it covers no entry."""
        head = self.stored.thread if self.stored else None
        return head if head and head.id == self.head.id and head.start < head.rev else None

    @property
    def begins_thread(self) -> bool:
        """Whether the thread may have no folder yet."""
        if self.change.space is Space.THREADS:
            return self.stored is None
        return bool(self.write.entries) and self.covered is None

    def hints(self) -> tuple[DueHint | None, DueHint | None]:
        """Return the hints that belong to the stored record and to the new one."""
        return DueHint.of(self.stored, *self.place), DueHint.of(self.write.record, *self.place)


def _stripes(change: Change) -> Iterator[str]:
    """Name the locks under which the change's record and its thread's folder are written."""
    yield stripe_of(hash_of(change.key))
    restored = change.restore.record.thread if change.restore else None
    written = change.thread or restored
    if written is not None:
        yield stripe_of(hash_of(written.id))


def _accepted(steps: Iterable[_Step], outcomes: dict[str, Outcome]) -> list[_Step]:
    return [step for step in steps if not isinstance(outcomes[step.change.id], Rejected)]


@contextmanager
def _rejecting(change: Change, outcomes: dict[str, Outcome]) -> Generator[None]:
    """Reject the change if the block meets an error that is its own and will not pass."""
    try:
        with translated_errors():
            yield
    except StorageUnavailableError:
        raise
    except StorageError as error:
        outcomes[change.id] = Rejected(error)
