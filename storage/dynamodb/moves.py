"""What the changes of a batch make of what is stored: decided here, carried out in ``commit``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor.storage.dynamodb.indexes import hint_of, index_of, note_of
from torpor.storage.dynamodb.items import Item, Key, key_of
from torpor.storage.dynamodb.journal import Journal, advance
from torpor.storage.dynamodb.stored import form_of
from torpor.storage.errors import CorruptRecordError
from torpor.storage.plan import Write, plan
from torpor.storage.records import Rejected, Space

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torpor.storage.dynamodb.journal import Step
    from torpor.storage.dynamodb.stored import Form, Stored
    from torpor.storage.records import Change, Outcome

__all__ = ["Found", "Move", "decide"]

Found = dict[tuple[Space, str], "Stored | CorruptRecordError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
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
        """Return what the stored record has to be for this; None: it must not exist."""
        return self.stored.change if self.stored else None


def decide(changes: Sequence[Change], found: Found, outcomes: dict[str, Outcome]) -> list[Move]:
    """Return what is to be written; set the outcomes of changes that write nothing.

    Raises ``TypeError``, ``ValueError`` or ``RecursionError`` for what has no form to write.
    """
    moves: list[Move] = []
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


def _move(change: Change, write: Write, stored: Stored | None) -> Move:
    space, key, wake_at = change.space, change.key, write.record.wake_at
    step = advance(
        stored.journal if stored else Journal(), stored.record.thread if stored else None, write
    )
    index: list[Item] = [] if stored else [index_of(space, key)]
    due = stored.due if stored and stored.record.wake_at == wake_at else None
    hint: Key | None = None
    if wake_at is not None and due is None:
        index.append(hint_of(space, key, wake_at))
        due = hint = key_of(index[-1])
    form = form_of(space, write.record, step.journal, due)
    doubtful = {form.body}
    if stored is not None:
        doubtful |= {stored.body, stored.journal.partition} - {step.journal.partition}
    return Move(
        change=change,
        write=write,
        stored=stored,
        step=step,
        form=form,
        index=tuple(index),
        hint=hint,
        notes={name: note_of(space, key, name) for name in doubtful if name is not None},
    )
