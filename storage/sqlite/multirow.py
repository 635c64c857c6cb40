"""Statements of many rows: the sizes that they come in, and the parameters that fit.

They exist in few sizes, so that they stay prepared. What they are given is padded to the next
one with rows of NULL, which the statements pass over.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

__all__ = ["MAX_ROWS", "insert", "padded"]

_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
MAX_ROWS = _SIZES[-1]


def padded(rows: Sequence[tuple[Any, ...]]) -> tuple[int, list[Any]]:
    """Return the size of the statement that takes ``rows``, and its parameters."""
    size = _SIZES[bisect_left(_SIZES, len(rows))]
    parameters = list(chain.from_iterable(rows))
    parameters += [None] * ((size - len(rows)) * len(rows[0]))
    return size, parameters


def insert(
    connection: sqlite3.Connection,
    statement: Callable[[int], str],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """Run a multi-row ``statement`` on ``rows``."""
    for begin in range(0, len(rows), MAX_ROWS):
        size, parameters = padded(rows[begin : begin + MAX_ROWS])
        connection.execute(statement(size), parameters)
