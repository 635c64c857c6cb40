"""The items of the table, and the names under which they stand.

=================== ============== ================================================================
``pk``              ``sk``         What
=================== ============== ================================================================
``checkpoints#KEY`` ``record``     a checkpoint with its thread's head and newest entries
``threads#ID``      ``record``     the head of a standalone thread with its newest entries
``entries#ID#NAME`` last ``seq``…  older entries; NAME is new for each thread, of the same id too
``body#…#NAME``     ``PIECE``      what a record holds, where that is too large for one item
``index#SPACE#N``   a key          there is, or was, a record
``due#N``           a time, a NAME a record may have something to do then
``rubbish#N``       a NAME         a partition that may be of no more use
``torpor``          ``table``      the format of all this
=================== ============== ================================================================

A NAME is used once: what is stored under it never changes, so nobody who lags behind can
overwrite or remove what another one has stored.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torpor.storage.records import Space

__all__ = [
    "FORMAT",
    "SHARDS",
    "TABLE_KEY",
    "Item",
    "Key",
    "chunk_of",
    "chunk_range",
    "chunk_sort",
    "due_partition",
    "due_sort",
    "due_time",
    "index_partition",
    "key_of",
    "number",
    "place",
    "record_key",
    "rubbish_partition",
    "shard_of",
    "split",
    "text",
    "text_of",
]

Item = dict[str, Any]
"""An item as the API has it: a name to ``{type: value}``."""
Key = tuple[str, str]
"""``pk`` and ``sk`` of an item."""

FORMAT = 1
TABLE_KEY: Key = ("torpor", "table")

SHARDS = 8
"""Partitions of each index: a partition takes 1,000 writes a second."""

_PIECE_CHARACTERS = 90_000  # up to 360 KB of UTF-8; an item has up to 400
_AFTER_DIGITS = "~"
_SIGN = 1 << 63
_ALL = (1 << 64) - 1


def text(value: str) -> dict[str, str]:
    """Return an attribute's text as the API has it."""
    return {"S": value}


def number(value: int) -> dict[str, str]:
    """Return an attribute's number as the API has it."""
    return {"N": str(value)}


def place(key: Key) -> Item:
    """Return the attributes that name an item."""
    return {"pk": text(key[0]), "sk": text(key[1])}


def key_of(item: Item) -> Key:
    """Return what names ``item``."""
    return item["pk"]["S"], item["sk"]["S"]


def text_of(item: Item, name: str) -> str | None:
    """Return a text of ``item``, None if it has none of that name."""
    attribute = item.get(name)
    return None if attribute is None else attribute.get("S")


def record_key(space: Space, key: str) -> Key:
    """Return where a record is."""
    return f"{space.value}#{key}", "record"


def chunk_sort(first: int, last: int, piece: int) -> str:
    """Return the sort key of a piece of a chunk of entries."""
    return f"{last:016d}#{first:016d}#{piece:06d}"


def chunk_of(item: Item) -> str:
    """Return what the sort keys of all pieces of the same chunk begin with."""
    return key_of(item)[1].rpartition("#")[0] + "#"


def chunk_range(start: int, stop: int | None) -> tuple[str, str]:
    """Return sort keys around those of chunks whose last entry has ``start <= seq < stop``."""
    return f"{start:016d}", _AFTER_DIGITS if stop is None else f"{stop:016d}"


def shard_of(key: str) -> int:
    """Return the number of the partition in which the indexes have a key."""
    return zlib.crc32(key.encode()) % SHARDS


def index_partition(space: Space, shard: int) -> str:
    """Return a partition of the index of all records."""
    return f"index#{space.value}#{shard}"


def due_partition(shard: int) -> str:
    """Return a partition of the index of wake-up times."""
    return f"due#{shard}"


def rubbish_partition(shard: int) -> str:
    """Return a partition of the list of partitions that may be of no more use."""
    return f"rubbish#{shard}"


def due_sort(moment: float, name: str) -> str:
    """Return a sort key in the order of times: IEEE 754's bits, turned to sort as text."""
    [bits] = struct.unpack(">Q", struct.pack(">d", float(moment) + 0.0))
    return f"{bits ^ (_ALL if bits & _SIGN else _SIGN):016x}#{name}"


def due_time(sort: str) -> float:
    """Return the time in a sort key."""
    turned = int(sort[:16], 16)
    [moment] = struct.unpack(">d", struct.pack(">Q", turned ^ (_SIGN if turned & _SIGN else _ALL)))
    return float(moment)


def split(document: str) -> list[str]:
    """Return ``document`` in pieces, each small enough for an item."""
    starts = range(0, len(document) or 1, _PIECE_CHARACTERS)
    return [document[start : start + _PIECE_CHARACTERS] for start in starts]
