"""Secondary indexes: which records have a value in a field.

An entry is a record of its own, ``index:<kind>/<field>/<hash of the value>/<id>``, and nothing
makes two records change at once. So an entry is written before its record and removed after it:
it may be there for nothing, and is never missing. A finder reads each record that an entry names
and verifies it.

A writer removes an entry only if nobody has written it since before the writer's own change of
the record. Whoever gives the record the old value again does so after having read the record as
this writer left it, and writes the entry anew in between: so that entry stays.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from torpor.storage import Change, Put, Rejected
from torpor.storage.errors import StorageError
from torpor.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torpor.storage import Storage

__all__ = ["Index", "keys_under"]

_KIND = "torpor.index"
_PAGE = 1000


class Index:
    """The index entries of one kind of record."""

    def __init__(self, storage: Storage, kind: str) -> None:
        self._storage = storage
        self._kind = kind

    def entry(self, field: str, value: str, record_id: str) -> str:
        """Return the key of an entry; ``value`` may be of any length."""
        return self._prefix(field, value) + record_id

    def write(self, entries: Iterable[str], at: float) -> None:
        """Write entries, also those that are there, before the record says what they say."""
        put = Put(data="{}", kind=_KIND)
        changes = [Change(key=entry, put=put, at=at) for entry in entries]
        if not changes:
            return
        for outcome in retrying()(self._storage.commit, changes):
            if isinstance(outcome, Rejected):
                raise outcome.error

    def revisions(self, entries: Iterable[str]) -> dict[str, int]:
        """Return the revisions of those entries that are there."""
        keys = list(entries)
        found: dict[str, int] = {}
        for record in self._storage.read(keys) if keys else ():
            if isinstance(record, StorageError):
                raise record
            if record is not None:
                found[record.key] = record.rev
        return found

    def remove(self, revisions: dict[str, int], at: float) -> None:
        """Remove entries that nobody has written since they had these revisions."""
        changes = [
            Change(key=entry, expected_rev=rev, delete=True, at=at)
            for entry, rev in revisions.items()
        ]
        if changes:
            retrying()(self._storage.commit, changes)

    def ids(self, field: str, value: str) -> Iterator[str]:
        """Yield the ids of the records that may have ``value`` in ``field``."""
        prefix = self._prefix(field, value)
        for key in keys_under(self._storage, prefix):
            yield key.removeprefix(prefix)

    def _prefix(self, field: str, value: str) -> str:
        digest = hashlib.blake2b(value.encode(), digest_size=16).hexdigest()
        return f"index:{self._kind}/{field}/{digest}/"


def keys_under(storage: Storage, prefix: str) -> Iterator[str]:
    """Yield the key of every live record whose key has ``prefix``."""
    cursor: str | None = None
    while True:
        page = storage.list_checkpoints(prefix, cursor=cursor, limit=_PAGE)
        for record in page:
            yield record.key
        cursor = page.cursor
        if cursor is None:
            return
