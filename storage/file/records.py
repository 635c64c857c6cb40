"""Reading the record documents of a file store, one by one or by listing. No locks are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.storage.errors import CorruptRecordError
from torpor.storage.file import documents
from torpor.storage.file.layout import hash_of
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage.file.documents import OwnedThread
    from torpor.storage.file.layout import Layout
    from torpor.storage.records import Record

__all__ = ["RecordReader"]

_REMEMBERED_KEYS = 100_000


class RecordReader:
    """Finds and decodes the documents that ``layout`` places."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._keys: dict[str, str] = {}  # by hash: what a name stands for never changes

    def find(self, space: Space, name: str, key: str | None = None) -> Record | OwnedThread | None:
        """Return what is stored under the hash ``name``, tombstones included; None = nothing.

        Raises ``CorruptRecordError``, which names ``key`` if it is given.
        """
        try:
            content = self._layout.record(space, name).read_bytes()
        except FileNotFoundError:
            self._layout.require_store()
            return None
        found = documents.decode(content, name, key)
        if space is Space.CHECKPOINTS and isinstance(found, documents.OwnedThread):
            raise CorruptRecordError(found.thread_id, "its place holds what belongs to a thread")
        return found

    def record(self, space: Space, name: str, key: str | None = None) -> Record | None:
        """Return the record, tombstone or standalone head stored under ``name``."""
        found = self.find(space, name, key)
        return None if isinstance(found, documents.OwnedThread) else found

    def live(self, space: Space, name: str) -> Record | None:
        """Return the record if it is sound and not deleted."""
        try:
            record = self.record(space, name)
        except CorruptRecordError:
            return None
        return None if record is None or record.deleted else record

    def is_owned(self, thread: OwnedThread) -> bool:
        """Return whether the owner's record still points at this thread."""
        owner = self.record(Space.CHECKPOINTS, hash_of(thread.owner), thread.owner)
        return (
            owner is not None and owner.thread is not None and owner.thread.id == thread.thread_id
        )

    def listing(self, space: Space, prefix: str, after: str | None) -> Iterator[Record]:
        """Yield live records by key from ``after`` on, in order of code points."""
        for _, name in self._wanted(space, prefix, after):
            if record := self.live(space, name):
                yield record

    def keys(self, space: Space, after: str | None, *, tombstones: bool) -> Iterator[str]:
        """Yield keys as ``listing`` does, those of corrupt documents too if they can be read."""
        for key, name in self._wanted(space, "", after):
            try:
                record = self.record(space, name)
            except CorruptRecordError:
                yield key
                continue
            if record is not None and (tombstones or not record.deleted):
                yield key

    def _wanted(self, space: Space, prefix: str, after: str | None) -> list[tuple[str, str]]:
        self._layout.require_store()
        keys = ((self.key(space, name), name) for name in self._layout.names(space))
        return sorted(
            (key, name)
            for key, name in keys
            if key is not None and key.startswith(prefix) and (after is None or key > after)
        )

    def key(self, space: Space, name: str) -> str | None:
        """Return the key of the document stored under ``name``, None if it does not tell."""
        if (key := self._keys.get(name)) is not None:
            return key
        try:
            with self._layout.record(space, name).open("rb") as file:
                key = documents.key_at_start(file.read(documents.KEY_WITHIN), name)
        except FileNotFoundError:
            return None
        if key is not None:
            if len(self._keys) >= _REMEMBERED_KEYS:
                self._keys.clear()
            self._keys[name] = key
        return key
