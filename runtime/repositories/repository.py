"""One kind of record: by id, all of them, and by the fields that are indexed."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from torpor.clock import Clock, SystemClock
from torpor.repositories.index import Index, keys_under
from torpor.repositories.models import Stored
from torpor.storage import Change, Conflict, Put, Rejected
from torpor.storage.errors import (
    ConflictError,
    CorruptRecordError,
    NotFoundError,
    SchemaVersionError,
    StorageError,
)
from torpor.storage.keys import validate_key
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff, retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torpor.storage import Checkpoint, Record, Storage

__all__ = ["Repository"]

M = TypeVar("M", bound=Stored)

_AT_ONCE = 500
_VERSION = 1


class Repository(Generic[M]):
    """Records of one kind, each under ``<kind>:<id>``. Thread-safe, and for many processes.

    Ids are any text that a key has room for. Lists are newest first, by ``created_at``. A
    record that cannot be read is an error, never a missing one, and is not overwritten. Writing
    raises ``StorageError``; ``ConflictError(outcome="unknown")`` if an answer was lost and
    another writer came next: read the record again.
    """

    kind: ClassVar[str]
    id_field: ClassVar[str]
    indexed: ClassVar[tuple[str, ...]] = ()
    model: type[M]

    def __init__(self, storage: Storage, clock: Clock | None = None) -> None:
        self._storage = storage
        self._clock = clock or SystemClock()
        self._index = Index(storage, self.kind)

    # -- reading ------------------------------------------------------------------------------

    def find_by_id(self, record_id: str) -> M | None:
        """Return the record, None if there is none."""
        stored = self._stored(record_id)
        return None if stored is None else self._decode(stored)

    def get(self, record_id: str) -> M:
        """Return the record; ``NotFoundError`` if there is none."""
        found = self.find_by_id(record_id)
        if found is None:
            raise self._missing(record_id)
        return found

    def exists(self, record_id: str) -> bool:
        """Return whether there is such a record."""
        return self._stored(record_id) is not None

    def find_all(self) -> list[M]:
        """Return all records."""
        return self._newest_first(self._read(keys_under(self._storage, f"{self.kind}:")))

    def _find_by(self, field: str, value: str) -> list[M]:
        """Return the records that have ``value`` in an indexed field."""
        ids = self._index.ids(field, value)
        found = self._read(self._key(record_id) for record_id in ids)
        return self._newest_first(record for record in found if getattr(record, field) == value)

    # -- writing ------------------------------------------------------------------------------

    def save(self, record: M) -> M:
        """Create or replace a record and return it as it is stored.

        ``created_at`` stays what it was first, ``updated_at`` becomes now. What others saved
        meanwhile is replaced; ``update`` keeps it.
        """
        return self._write(self._id(record), lambda _: record)

    def update(self, record_id: str, change: Callable[[M], M]) -> M:
        """Replace a record by what ``change`` makes of it, and return that.

        ``change`` gets a copy of its own and is called again if another writer comes first.
        Raises ``NotFoundError``.
        """

        def changed(found: M | None) -> M:
            if found is None:
                raise self._missing(record_id)
            return change(found)

        return self._write(record_id, changed)

    def delete(self, record_id: str) -> None:
        """Remove a record. No error if there is none."""

        def removal(stored: Checkpoint | None) -> tuple[Change, set[str]] | None:
            if stored is None:
                return None
            change = Change(
                key=stored.key, expected_rev=stored.rev, delete=True, at=self._clock.time()
            )
            return change, set()

        self._commit(record_id, removal)

    def _write(self, record_id: str, change: Callable[[M | None], M]) -> M:
        written: list[M] = []

        def replacement(stored: Checkpoint | None) -> tuple[Change, set[str]]:
            old = None if stored is None else self._decode(stored)
            now = self._clock.time()
            made = change(old.model_copy(deep=True) if old else None)
            if self._id(made) != record_id:
                msg = f"{self.id_field} of {record_id!r} cannot be changed"
                raise ValueError(msg)
            times = {"created_at": old.created_at if old else now, "updated_at": now}
            new = self.model.model_validate(made.model_dump() | times)
            written[:] = [new]
            put = Put(data=new.model_dump_json(), kind=f"torpor.{self.kind}", version=_VERSION)
            rev = stored.rev if stored else 0
            entries = self._entries(new)
            return Change(key=self._key(record_id), expected_rev=rev, put=put, at=now), entries

        self._commit(record_id, replacement)
        return written[0]

    def _commit(
        self,
        record_id: str,
        decide: Callable[[Checkpoint | None], tuple[Change, set[str]] | None],
    ) -> None:
        """Carry out the change that ``decide`` makes of the stored record, and index it.

        ``decide`` returns the change and the index entries that hold after it, or None if there
        is nothing to do. See ``torpor.repositories.index`` for the order of things.
        """
        deadline = time.monotonic() + MAX_RETRY_SECONDS
        attempt = 0
        written: set[str] = set()
        while True:
            stored = self._stored(record_id)
            decision = decide(stored)
            if decision is None:
                return
            change, entries = decision
            before = self._entries(self._decode(stored)) if stored else set[str]()
            self._index.write(entries - before, change.at)
            written |= entries - before
            doomed = self._index.revisions((before | written) - entries)
            commit = retrying()
            [outcome] = commit(self._storage.commit, [change])
            if isinstance(outcome, Rejected):
                raise outcome.error
            if not isinstance(outcome, Conflict):
                self._index.remove(doomed, change.at)
                return
            attempt += 1
            resent = commit.statistics["attempt_number"] > 1
            if resent or time.monotonic() > deadline:
                raise ConflictError(
                    change.key,
                    expected=change.expected_rev,
                    found=outcome.found,
                    outcome="unknown" if resent else "not_applied",
                )
            time.sleep(backoff(attempt))

    # -- inside -------------------------------------------------------------------------------

    def _key(self, record_id: str) -> str:
        validate_key(record_id)
        return validate_key(f"{self.kind}:{record_id}")

    def _id(self, record: M) -> str:
        record_id = getattr(record, self.id_field)
        assert isinstance(record_id, str)
        return record_id

    def _missing(self, record_id: str) -> NotFoundError:
        return NotFoundError(self.kind.capitalize(), record_id)

    def _stored(self, record_id: str) -> Checkpoint | None:
        return retrying()(self._storage.get_checkpoint, self._key(record_id))

    def _entries(self, record: M) -> set[str]:
        """Return the index entries of a record."""
        values = ((field, getattr(record, field)) for field in self.indexed)
        return {
            self._index.entry(field, value, self._id(record))
            for field, value in values
            if value is not None
        }

    def _read(self, keys: Iterable[str]) -> list[M]:
        left = iter(keys)
        found: list[M] = []
        while batch := list(islice(left, _AT_ONCE)):
            for record in retrying()(self._storage.read, batch):
                if isinstance(record, StorageError):
                    raise record
                if record is not None:
                    found.append(self._decode(record))
        return found

    def _newest_first(self, records: Iterable[M]) -> list[M]:
        return sorted(records, key=lambda r: (r.created_at, self._id(r)), reverse=True)

    def _decode(self, stored: Checkpoint | Record) -> M:
        if stored.kind != f"torpor.{self.kind}" or stored.data is None:
            detail = f"it is of kind {stored.kind!r}, not torpor.{self.kind}"
            raise CorruptRecordError(stored.key, detail)
        if stored.version > _VERSION:
            place = f"the record {stored.key!r}"
            raise SchemaVersionError(place, found=stored.version, supported=_VERSION)
        try:
            record = self.model.model_validate_json(stored.data)
        except ValueError as error:
            raise CorruptRecordError(stored.key, f"not a {self.kind}: {error}") from error
        if stored.key != f"{self.kind}:{self._id(record)}":
            raise CorruptRecordError(stored.key, f"it says that it is {self._id(record)!r}")
        return record
