"""Cursors: the places of events in their topic, as text.

A cursor is the event's number in its topic, ``<base 36>-<4 digits>`` with a fixed width: so
cursors of one topic compare as text, and neither a clock nor a second process can make one twice.
"""

from __future__ import annotations

import re

from torpor.storage.errors import InvalidCursorError

__all__ = ["cursor_of", "seq_of"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_WIDTH = 8
_LOW = 10_000
_CURSOR = re.compile(r"([0-9a-z]{8})-([0-9]{4})", re.ASCII)


def cursor_of(seq: int) -> str:
    """Return the cursor of the event with number ``seq``, which counts from 0."""
    high, low = divmod(seq, _LOW)
    text = ""
    for _ in range(_WIDTH):
        high, digit = divmod(high, len(_DIGITS))
        text = _DIGITS[digit] + text
    if high or seq < 0:
        msg = f"no event has the number {seq}"
        raise InvalidCursorError(msg)
    return f"{text}-{low:04}"


def seq_of(cursor: str) -> int:
    """Return the number of the event at ``cursor``; ``InvalidCursorError`` if it is none."""
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        msg = f"{cursor!r} is no cursor; take those that events and publish() give"
        raise InvalidCursorError(msg)
    return int(match[1], 36) * _LOW + int(match[2])
