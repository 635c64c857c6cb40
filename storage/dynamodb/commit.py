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

from torpor.storage.dynamodb.items import key_of
from torpor.storage.dynamodb.journal import chunk_items
from torpor.storage.dynamodb.moves import decide
from torpor.storage.dynamodb.stored import load
from torpor.storage.errors import CorruptRecordError, StorageError, StorageUnavailableError
from torpor.storage.records import Space
from torpor.storage.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torpor.storage.dynamodb.items import Item, Key
    from torpor.storage.dynamodb.moves import Found, Move
    from torpor.storage.dynamodb.table import Range, Table
    from torpor.storage.records import Change, Outcome

__all__ = ["apply_changes"]


def apply_changes(table: Table, changes: Sequence[Change]) -> list[Outcome]:
    """Decide and write ``changes``; return their outcomes.

    Raises ``StorageUnavailableError`` if some of them are not known to be written in time, and
    ``TypeError``, ``ValueError`` or ``RecursionError``, before anything is written, if one of
    them has no form to write.
    """
    deadline = table.deadline(len(changes))
    outcomes: dict[str, Outcome] = {}
    left = list(changes)
    lost: list[Move] = []
    rounds = 0
    while left:
        found = _load(table, left, deadline)
        _remove(table, (_of_no_use(move, found) for move in lost), deadline)
        moves = decide(left, found, outcomes)
        deadline = _prepare(table, moves, deadline)
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


def _load(table: Table, changes: Sequence[Change], deadline: float) -> Found:
    return {
        (space, key): stored
        for space in Space
        if (keys := [change.key for change in changes if change.space is space])
        for key, stored in load(table, space, keys, deadline).items()
    }


def _prepare(table: Table, moves: Sequence[Move], deadline: float) -> float:
    """Put what must be there before the records; return when the operation has to end now."""
    notes = [note for move in moves for note in move.notes.values()]
    items: list[Item] = []
    for move in moves:
        items += (*move.index, *move.form.pieces)
        if move.step.copied and move.step.journal.partition:
            items += chunk_items(move.step.journal.partition, move.step.copied)
    deadline = table.extended(deadline, len(items))
    table.write_all(deadline, puts=notes)  # before there is anything that they tell of
    table.write_all(deadline, puts=items)
    return deadline


@dataclass(frozen=True, slots=True)
class _Rubbish:
    """Items, ranges of partitions, and the notes that told of these."""

    keys: tuple[Key, ...] = ()
    ranges: tuple[Range, ...] = ()
    notes: tuple[Key, ...] = ()


def _superseded(move: Move) -> _Rubbish:
    """Return what has been replaced."""
    before, step = move.stored, move.step
    keys = (before.due,) if before and before.due and before.due != move.form.due else ()
    ranges: list[Range] = [(name, None) for name in move.notes if name != move.form.body]
    if step.trimmed and step.journal.partition:
        ranges.append((step.journal.partition, step.trimmed))
    return _Rubbish(keys, tuple(ranges), tuple(map(key_of, move.notes.values())))


def _of_no_use(move: Move, found: Found) -> _Rubbish:
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
