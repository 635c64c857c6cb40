"""Finding records, and removing what is left of those that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torpor.storage.errors import CorruptRecordError
from torpor.storage.redis.documents import Stored, decode_record
from torpor.storage.redis.errors import is_wrong_type
from torpor.storage.redis.scripts import FORGET
from torpor.storage.redis.server import run_script

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torpor.storage.records import Space
    from torpor.storage.redis.layout import Layout
    from torpor.storage.redis.server import Server

__all__ = ["Found", "Records", "found_of"]

_AT_ONCE = 1000

Place = tuple["Space", str]
Found = Stored | CorruptRecordError | None


def found_of(key: str, reply: Any) -> Found:
    """Return what a GET of ``key``'s record found."""
    if is_wrong_type(reply):
        error = CorruptRecordError(key, "its key in Redis holds another type of value")
        error.__cause__ = reply
        return error
    try:
        return None if reply is None else decode_record(reply, key)
    except CorruptRecordError as error:
        return error


class Records:
    """The records of a store, tombstones included, and the indexes of them."""

    def __init__(self, server: Server, layout: Layout) -> None:
        self._server = server
        self._layout = layout

    def find(self, places: Sequence[Place]) -> list[Found]:
        """Return what is stored at each place, in order."""
        replies = self._server.run([("GET", self._layout.record(*place)) for place in places])
        return [found_of(key, reply) for (_, key), reply in zip(places, replies, strict=True)]

    def missing(self, places: Sequence[Place]) -> list[Place]:
        """Return the places where nothing is stored."""
        exist = self._server.run([("EXISTS", self._layout.record(*place)) for place in places])
        return [place for place, exists in zip(places, exist, strict=True) if not exists]

    def forget(self, places: Iterable[tuple[Place, Stored | None]]) -> int:
        """Remove tombstones, and what points at nothing, from all indexes; return how many.

        What has been written meanwhile stays.
        """
        replies = self._server.run_all(
            [
                run_script(
                    FORGET,
                    [keys.record, keys.listing, keys.wake, keys.deleted],
                    stored.header if stored else b"",
                    keys.key,
                    keys.member,
                )
                for keys, stored in ((self._layout.of(*place), stored) for place, stored in places)
            ]
        )
        return sum(replies)

    def deleted(self, space: Space) -> Iterator[str]:
        """Yield the key of every tombstone of a space, in no order."""
        indexes = self._layout.tombstones()
        for members in self._server.run_all([("ZRANGE", index, 0, -1) for index in indexes]):
            places = filter(None, map(self._layout.place, members))
            yield from (key for place, key in places if place is space)

    def vacuum(self, before: float) -> int:
        """Remove tombstones of before that moment; return how many."""
        return sum(self._vacuum(index, before) for index in self._layout.tombstones())

    def _vacuum(self, index: bytes, before: float) -> int:
        removed = kept = 0
        while True:
            limit = ("LIMIT", kept, _AT_ONCE)
            command = ("ZRANGEBYSCORE", index, "-inf", f"({before!r}", *limit)
            [members] = self._server.run_all([command])
            if not members:
                return removed
            places = list(filter(None, map(self._layout.place, members)))
            found = list(zip(places, self.find(places), strict=True))
            tombs = [
                (place, stored)
                for place, stored in found
                if isinstance(stored, Stored) and stored.record.deleted
            ]
            forgotten = self.forget(tombs)
            removed += forgotten
            forgotten += self.forget((place, None) for place, stored in found if stored is None)
            kept += len(members) - forgotten
