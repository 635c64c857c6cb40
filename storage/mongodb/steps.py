"""One change on its way into a MongoDB store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torpor.storage.errors import RecordTooLargeError, StorageError
from torpor.storage.mongodb import documents
from torpor.storage.records import new_id

if TYPE_CHECKING:
    from torpor.storage.errors import TorporError
    from torpor.storage.mongodb.documents import EntryDocument, Stored
    from torpor.storage.plan import Write
    from torpor.storage.records import Change

__all__ = ["Step", "encode_step", "unstorable"]


@dataclass(frozen=True, slots=True)
class Step:
    """A change that is to be written, and what it was decided against."""

    change: Change
    stored: Stored | None
    write: Write
    incarnation: str | None
    """That of the thread to which the new record points."""
    etag: str = field(default_factory=new_id)
    """The new record's. Not the change's id: a resend may be decided against something else."""
    document: bytes = b""
    entries: tuple[EntryDocument, ...] = ()

    @property
    def places(self) -> dict[str, Any]:
        """The condition that holds for what lies where this step's entries belong."""
        head, entries = self.write.record.thread, self.write.entries
        assert head is not None
        seqs = {"$gte": entries[0].seq, "$lte": entries[-1].seq}
        return {"thread": head.id, "seq": seqs}


def encode_step(
    change: Change, stored: Stored | None, write: Write, *, queryable: bool, limit: int
) -> Step:
    """Return the step with its documents; raises what ``unstorable`` makes an answer of."""
    etag = new_id()
    head = write.record.thread
    incarnation: str | None = None
    if head is not None:
        goes_on = stored is not None and _thread_id(stored) == head.id
        incarnation = stored.incarnation if stored is not None and goes_on else etag
    step = Step(change, stored, write, incarnation, etag)
    return replace(
        step,
        document=documents.encode_record(
            write.record, etag=etag, incarnation=incarnation, queryable=queryable, limit=limit
        ),
        entries=tuple(
            documents.encode_entries(
                change.key,
                head.id,
                write.entries,
                etag=etag,
                incarnation=incarnation,
                written_at=change.at,
                limit=limit,
            )
            if head is not None
            else ()
        ),
    )


def unstorable(key: str, error: Exception) -> TorporError:
    """Return the refusal of a change whose documents can't be made."""
    if isinstance(error, RecordTooLargeError):
        return error
    refusal = StorageError(f"{key!r} cannot be stored: {error}")
    refusal.__cause__ = error
    return refusal


def _thread_id(stored: Stored) -> str | None:
    head = stored.record.thread
    return None if stored.record.deleted or head is None else head.id
