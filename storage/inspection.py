"""What the tools ask of a storage beyond its contract: every key, damage of the place itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor.storage.backend import Backend, readable
from torpor.storage.errors import CorruptRecordError
from torpor.storage.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torpor.storage.errors import StorageError
    from torpor.storage.records import Space

__all__ = ["Finding", "Inspectable"]

_KEYS_AT_ONCE = 1000
_FOR_EVER = 2**62


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be; see ``torpor.storage.check``.

    ``problem`` is one of its names of problems, ``where`` a key, a thread's id or a file.
    """

    problem: str
    where: str
    detail: str


class Inspectable(Backend):
    """What a backend may implement for the tools. Without it they see what a listing shows."""

    def _list_keys(
        self, space: Space, after: str | None, limit: int, *, tombstones: bool
    ) -> Sequence[str]:
        """Return up to ``limit`` keys, in the order of ``_list``, undecodable records' too.

        This default passes those over, as ``_list`` does, and knows no tombstones.
        """
        del tombstones
        return [record.key for record in self._list(space, "", after, limit)]

    def _list_thread_ids(self, after: str | None, limit: int) -> Sequence[str] | None:
        """Return up to ``limit`` ids after ``after`` of threads with entries, visible or not.

        In any fixed order. None: this storage can't tell, or may rightly hold some that are of
        no use any more.
        """
        del after, limit
        return None

    def _inspect(self) -> Iterator[Finding]:
        """Yield what is wrong with the place as a whole. Changes nothing."""
        yield from ()

    def all_keys(self, space: Space, *, tombstones: bool = False) -> Iterator[str]:
        """Yield every key of a space, page by page, also of records that cannot be decoded.

        Where the backend can tell; else those that a listing shows. With ``tombstones`` the keys
        of deleted records too. In the order of listings.
        """
        after: str | None = None
        while True:
            self._require_open()
            found = self._list_keys(space, after, _KEYS_AT_ONCE, tombstones=tombstones)
            yield from found
            if len(found) < _KEYS_AT_ONCE:
                return
            after = found[-1]

    def all_thread_ids(self) -> Iterator[str]:
        """Yield the ids of threads with entries; none if this storage can't tell."""
        after: str | None = None
        while True:
            self._require_open()
            found = self._list_thread_ids(after, _KEYS_AT_ONCE)
            yield from found or ()
            if not found or len(found) < _KEYS_AT_ONCE:
                return
            after = found[-1]

    def has_entries(self, thread_id: str) -> bool:
        """Return whether any entry is stored under a thread's id, visible or not."""
        self._require_open()
        try:
            found = self._read_entries(thread_id, 0, _FOR_EVER, kinds=None, limit=1, newest=True)
        except CorruptRecordError:
            return True
        return bool(found)

    def inspect(self) -> Iterator[Finding]:
        """Yield what is wrong with the place as a whole; ``check`` looks at each record too."""
        self._require_open()
        return self._inspect()

    def read_records(self, space: Space, keys: Sequence[str]) -> list[Record | StorageError | None]:
        """Return the live record under each key, in order, in one step; of a corrupt one its error.

        Pointers of checkpoints to their threads are not verified; ``read`` does that.
        """
        self._require_open()
        return [
            (None if found.deleted else readable(found, space))
            if isinstance(found, Record)
            else found
            for found in self._read(space, keys)
        ]
