"""Waiting for the locks that other processes hold on a SQLite file."""

from __future__ import annotations

import random
import sqlite3
import time
from typing import TYPE_CHECKING, ParamSpec

from torpor.storage.sqlite.errors import primary_code

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["patiently"]

_POLL_SECONDS = (0.0005, 0.0015)

Parameters = ParamSpec("Parameters")


def patiently(
    deadline: float,
    execute: Callable[Parameters, sqlite3.Cursor],
    *args: Parameters.args,
    **kwargs: Parameters.kwargs,
) -> sqlite3.Cursor:
    """Execute what may meet the lock of another process; try until ``deadline``, monotonic.

    SQLite's own waiting grows to 100 ms of sleep, in which a busy process takes the lock
    hundreds of times: another one starves.
    """
    while True:
        try:
            return execute(*args, **kwargs)
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(random.uniform(*_POLL_SECONDS))  # noqa: S311 - not for secrets
