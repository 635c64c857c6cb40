"""What this process believes to be stored."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from torpor.storage.records import Record
from torpor.storage.redis.documents import Stored

if TYPE_CHECKING:
    from torpor.storage.records import Space

__all__ = ["KnownRecords"]


class KnownRecords:
    """The records last read or written, without their data; the server has the last word.

    They save a round trip: a change is planned for what is believed to be stored, and the script
    that carries it out tells if something else is.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._records: OrderedDict[tuple[Space, str], Stored] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, space: Space, key: str) -> Stored | None:
        """Return what is believed to be stored, None if nothing is known."""
        return self._records.get((space, key))

    def put(self, space: Space, stored: Stored) -> None:
        """Remember what is stored; forget what was remembered longest ago if it is too much."""
        record = stored.record
        if record.data is not None:
            record = _without_data(record)
        known = Stored(stored.header, record)
        place = space, record.key
        with self._lock:
            self._records[place] = known
            self._records.move_to_end(place)
            if len(self._records) > self._capacity:
                self._records.popitem(last=False)

    def forget(self, space: Space, key: str) -> None:
        """Know nothing of a record any more."""
        with self._lock:
            self._records.pop((space, key), None)


def _without_data(record: Record) -> Record:
    # ``dataclasses.replace`` takes four times as long, for each record of each commit.
    return Record(
        key=record.key,
        rev=record.rev,
        change_id=record.change_id,
        updated_at=record.updated_at,
        deleted=record.deleted,
        kind=record.kind,
        version=record.version,
        thread=record.thread,
        wake_at=record.wake_at,
    )
