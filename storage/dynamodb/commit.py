"""A batch of changes: what they need is read at once, then each is one conditional write.

A change is decided by one item, so it is atomic without a transaction, which would cost twice
as much and end at 100 items or 4 MB. What must be there before (copies of entries, places in the
indexes, the pieces of what is too large for one item) is put under names that nobody else uses;
what is superseded is removed after. What a crash leaves of either, nobody sees.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torpor.storage.dynamodb.indexes import hint_of, index_of, note_of
from torpor.storage.dynamodb.items import Item, Key, key_of
from torpor.storage.dynamodb.journal import Journal, advance, items_of_entries
from torpor.storage.dynamodb.stored import form_of, load
from torpor.storage.errors import CorruptRecordError, StorageError, StorageUnavailableError
from torpor.storage.plan import Write, plan
from torpor.storage.records import Rejected, Space
from torpor.storage.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torpor.storage.dynamodb.journal import Step
    from torpor.storage.dynamodb.stored import Form, Stored
    from torpor.storage.dynamodb.table import Range, Table
    from torpor.storage.records import Change, Outcome

__all__ = ["apply_changes"]

_Found = dict[tuple[Space, str], "Stored | CorruptRecordError"]


def apply_changes(table: Table, changes: Sequence[Change]) -> list[Outcome]:
    """Decide and write ``changes``; return their outcomes.

    Raises ``StorageUnavailableError`` if some of them are not known to be written in time, and
    ``TypeError``, ``ValueError`` or ``RecursionError``, before anything is written, if one of
    them has no form to write.
    """
    deadline = table.deadline(len(changes))
    outcomes: dict[str, Outcome] = {}
    left = list(changes)
    lost: list[_Move] = []
    rounds = 0
    while left:
        found = _load(table, left, deadline)
        _remove(table, (_of_no_use(move, found) for move in lost), deadline)
        moves = _decide(left, found, outcomes)
        _prepare(table, moves, deadline)
        won = table.parallel(
            [partial(table.put_if, m.form.item, deadline, change=m.expected) for m in moves]
        )
        winners = [move for move, has_won in zip(moves, won, strict=True) if has_won]
        lost = [move for move, has_won in zip(moves, won, strict=True) if not has_won]
        _remove(table, map(_superseded, winners), deadline)
        outcomes |= {move.change.id: move.write.outcome for move in winners}
        left = [move.change for move in lost]
        if left and time.monotonic() > deadline:
            msg = f"{table.place}: other writers came first all the time"
            raise StorageUnavailableError(msg)
        rounds += 1
        if left:
            time.sleep(backoff(rounds))
    return [outcomes[change.id] for change in changes]


# -- decisions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """A change on its way to replacing ``stored``, and all that goes with it."""

    change: Change
    write: Write
    stored: Stored | None
    step: Step
    form: Form
    index: tuple[Item, ...]
    """What the indexes need before."""
    hint: Key | None
    """Of these, where the wake-up time stands."""
    notes: Mapping[str, Item]
    """Of each partition that may come to be of no use, what says so."""

    @property
    def expected(self) -> str | None:
        return self.stored.change if self.stored else None


def _load(table: Table, changes: Sequence[Change], deadline: float) -> _Found:
    return {
        (space, key): stored
        for space in Space
        if (keys := [change.key for change in changes if change.space is space])
        for key, stored in load(table, space, keys, deadline).items()
    }


def _decide(changes: Sequence[Change], found: _Found, outcomes: dict[str, Outcome]) -> list[_Move]:
    """Return what is to be written; set the outcomes of changes that write nothing."""
    moves: list[_Move] = []
    for change in changes:
        stored = found.get((change.space, change.key))
        if isinstance(stored, CorruptRecordError):
            outcomes[change.id] = Rejected(stored)
            continue
        decision = plan(change, stored.record if stored else None)
        if isinstance(decision, Write):
            moves.append(_move(change, decision, stored))
        else:
            outcomes[change.id] = decision
    return moves


def _move(change: Change, write: Write, stored: Stored | None) -> _Move:
    space, key, wake_at = change.space, change.key, write.record.wake_at
    step = advance(
        stored.journal if stored else Journal(),
        stored.record.thread if stored else None,
        write,
        restores=change.restore is not None,
    )
    index: list[Item] = [] if stored else [index_of(space, key)]
    due = stored.due if stored and stored.record.wake_at == wake_at else None
    hint: Key | None = None
    if wake_at is not None and due is None:
        index.append(hint_of(space, key, wake_at))
        due = hint = key_of(index[-1])
    form = form_of(space, write.record, step.journal, due)
    doubtful = {form.body, stored.body if stored else None, step.emptied} - {None}
    return _Move(
        change=change,
        write=write,
        stored=stored,
        step=step,
        form=form,
        index=tuple(index),
        hint=hint,
        notes={name: note_of(space, key, name) for name in doubtful if name is not None},
    )


# -- steps ----------------------------------------------------------------------------------------


def _prepare(table: Table, moves: Sequence[_Move], deadline: float) -> None:
    notes = [note for move in moves for note in move.notes.values()]
    if notes:
        table.write_all(deadline, puts=notes)
    others: list[Item] = []
    for move in moves:
        others += (*move.index, *move.form.pieces)
        if move.step.copied and move.step.journal.partition:
            others += items_of_entries(move.step.journal.partition, move.step.copied)
    if others:
        table.write_all(deadline, puts=others)


@dataclass(frozen=True, slots=True)
class _Rubbish:
    """Items, ranges of partitions, and the notes that told of these."""

    keys: tuple[Key, ...] = ()
    ranges: tuple[Range, ...] = ()
    notes: tuple[Key, ...] = ()


def _superseded(move: _Move) -> _Rubbish:
    """Return what has been replaced."""
    before, step = move.stored, move.step
    keys = (before.due,) if before and before.due and before.due != move.form.due else ()
    ranges: list[Range] = [(name, None) for name in move.notes if name != move.form.body]
    if step.trimmed and step.journal.partition:
        ranges.append((step.journal.partition, step.trimmed))
    return _Rubbish(keys, tuple(ranges), tuple(map(key_of, move.notes.values())))


def _of_no_use(move: _Move, found: _Found) -> _Rubbish:
    """Return what was prepared for a write that was not done, or so it seemed."""
    stored = found.get((move.change.space, move.change.key))
    if isinstance(stored, CorruptRecordError):
        return _Rubbish()
    if stored and stored.change == move.change.id:
        return _superseded(move)
    body = move.form.body
    return _Rubbish(
        keys=(move.hint,) if move.hint else (),
        ranges=((body, None),) if body else (),
        notes=(key_of(move.notes[body]),) if body else (),
    )


def _remove(table: Table, rubbish: Iterable[_Rubbish], deadline: float) -> None:
    """Remove what nobody sees any more. It does no harm if that fails."""
    all_of_it = list(rubbish)
    with suppress(StorageError):
        table.empty((range_ for some in all_of_it for range_ in some.ranges), deadline)
        keys = [key for some in all_of_it for key in (*some.keys, *some.notes)]
        table.write_all(deadline, deletes=keys)
