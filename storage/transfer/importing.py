"""Reading an export into a storage, and copying from one storage to another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torpor.storage.errors import ConflictError, StorageError
from torpor.storage.records import Change, Conflict, Record, Rejected, Space
from torpor.storage.retry import retrying
from torpor.storage.transfer.exporting import Export
from torpor.storage.transfer.parts import PartReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torpor.storage.base import Storage
    from torpor.storage.records import Outcome
    from torpor.storage.transfer.lines import Totals
    from torpor.storage.transfer.parts import Part

__all__ = ["ImportResult", "copy", "import_lines"]

_PARTS_AT_ONCE = 500
_BYTES_AT_ONCE = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What an import read (``totals``), and what it did with it, in numbers of records.

    ``present``: were there already, and equal. ``replaced``: were there and differed.
    """

    totals: Totals
    imported: int
    present: int
    replaced: int


def import_lines(
    storage: Storage,
    lines: Iterable[bytes],
    *,
    overwrite: bool = False,
    on_batch: Callable[[Totals], object] | None = None,
) -> ImportResult:
    """Store what an export holds, as it was: revisions, times, threads.

    ``lines`` may be a file opened in binary mode. Can be repeated: what is there already and
    equal is left alone, and a thread that was stored in part is gone on with. A record that is
    there and differs is a ``ConflictError``, or with ``overwrite`` replaced. Raises
    ``CorruptExportError`` for a line that is damaged or missing, and otherwise as ``commit``
    does. Whatever is raised, what came before has been stored. No runtime may use the agents
    meanwhile.
    """
    importer = _Importer(storage, overwrite=overwrite)
    reader = PartReader(lines)
    for part in reader:
        if importer.take(part) and on_batch is not None:
            on_batch(reader.totals)
    importer.flush()
    if on_batch is not None:
        on_batch(reader.totals)
    return ImportResult(
        totals=reader.totals,
        imported=importer.imported,
        present=importer.present,
        replaced=importer.replaced,
    )


def copy(
    source: Storage,
    target: Storage,
    *,
    overwrite: bool = False,
    on_batch: Callable[[Totals], object] | None = None,
    on_damage: Callable[[Space, str, StorageError], object] | None = None,
) -> ImportResult:
    """Import into ``target`` what ``source`` exports, without a file between."""
    return import_lines(
        target, Export(source, on_damage=on_damage), overwrite=overwrite, on_batch=on_batch
    )


class _Importer:
    """Stores parts, many at a time, and decides what to do where something is there already."""

    def __init__(self, storage: Storage, *, overwrite: bool) -> None:
        self.imported = 0
        self.present = 0
        self.replaced = 0
        self._storage = storage
        self._overwrite = overwrite
        self._batch: dict[tuple[Space, str], Part] = {}
        self._size = 0
        self._place: tuple[Space, str] | None = None  # of the thread that goes on
        self._rev = 0  # of its record as it is stored now
        self._stored_to = 0  # its entries before this are stored
        self._newest: str | None = None  # the id of the last of them

    def take(self, part: Part) -> bool:
        """Store the part, now or with others; return whether something was stored just now."""
        if not part.is_first:
            self.flush()
            self._go_on(part)
            return True
        self._batch[part.place] = part
        self._size += part.size
        if part.is_last and len(self._batch) < _PARTS_AT_ONCE and self._size < _BYTES_AT_ONCE:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Store what is waiting."""
        parts, self._batch, self._size = list(self._batch.values()), {}, 0
        outcomes = self._commit([part.change(0) for part in parts]) if parts else ()
        there: list[Part] = []
        for part, outcome in zip(parts, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                there.append(part)
            else:
                self.imported += 1
                self._remember(part)
        for space in Space:
            several = [part for part in there if part.space is space]
            if several:
                stored = self._read(space, [part.whole.key for part in several])
                for part, record in zip(several, stored, strict=True):
                    self._settle(part, record)

    def _remember(self, part: Part) -> None:
        if not part.is_last:
            self._place, self._rev = part.place, part.record.rev
            self._stored_to, self._newest = part.entries[-1].seq + 1, part.entries[-1].id

    def _go_on(self, part: Part) -> None:
        """Store the next entries of a thread, unless they are there."""
        assert self._place == part.place, "parts of a thread follow each other"
        known = [entry for entry in part.entries if entry.seq < self._stored_to]
        if known and known[-1].seq == self._stored_to - 1 and known[-1].id != self._newest:
            raise ConflictError(part.whole.key, expected=0, found=self._rev)
        rest = part.entries[len(known) :]
        if rest:
            shorter = replace(part, entries=rest)
            [outcome] = self._commit([shorter.change(self._rev or None)])
            if isinstance(outcome, Conflict):
                raise ConflictError(part.whole.key, expected=self._rev, found=outcome.found)
            self._remember(part)

    def _settle(self, part: Part, stored: Record | StorageError | None) -> None:
        """Decide what becomes of a record in whose place there is another."""
        whole = part.whole
        if isinstance(stored, Record):
            if _same(stored, whole):
                self.present += 1
                self._place, self._rev = part.place, stored.rev
                self._stored_to, self._newest = _end(whole)
                return
            if not self._overwrite and _is_part_of(stored, whole):
                self._place, self._rev = part.place, stored.rev
                self._stored_to, self._newest = _end(stored)
                self.imported += 1
                if part.entries:
                    self._go_on(part)
                return
        if not self._overwrite or not isinstance(stored, Record):
            if isinstance(stored, StorageError):
                raise stored
            raise ConflictError(whole.key, expected=0, found=stored.rev if stored else None)
        self._replace(part, stored)
        self.replaced += 1
        self._remember(part)

    def _replace(self, part: Part, stored: Record) -> None:
        old, new = stored.thread, part.whole.thread
        expected_rev = stored.rev
        if old is not None and new is not None and old.id == new.id:
            # Its entries are in the places of the new ones.
            removal = Change(
                key=part.whole.key,
                space=part.space,
                expected_rev=expected_rev,
                delete=True,
                at=part.whole.updated_at,
            )
            self._require_saved(removal)
            expected_rev = 0
        self._require_saved(part.change(expected_rev))

    def _require_saved(self, change: Change) -> None:
        [outcome] = self._commit([change])
        if isinstance(outcome, Conflict):
            raise ConflictError(change.key, expected=outcome.expected, found=outcome.found)

    def _read(self, space: Space, keys: Sequence[str]) -> list[Record | StorageError | None]:
        if space is Space.CHECKPOINTS:
            return self._storage.read(keys)
        return self._storage.read_records(space, keys)

    def _commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Commit, again while the storage is not there for a moment; raise what was rejected."""
        outcomes: list[Outcome] = retrying()(self._storage.commit, changes)
        for outcome in outcomes:
            if isinstance(outcome, Rejected):
                raise outcome.error
        return outcomes


def _end(record: Record) -> tuple[int, str | None]:
    return (record.thread.rev, record.thread.last) if record.thread else (0, None)


def _same(stored: Record, whole: Record) -> bool:
    return replace(stored, change_id=whole.change_id) == whole


def _is_part_of(stored: Record, whole: Record) -> bool:
    """Return whether ``stored`` is ``whole`` with a shorter thread."""
    if stored.thread is None or whole.thread is None or stored.thread.rev >= whole.thread.rev:
        return False
    head = replace(stored.thread, rev=whole.thread.rev, last=whole.thread.last)
    rev = whole.rev if whole.key == whole.thread.id else stored.rev
    return _same(replace(stored, thread=head, rev=rev), whole)
