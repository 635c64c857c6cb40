"""What a storage does, counted: a clock would tell how busy the machine is."""

from __future__ import annotations

import socket
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bytes_held", "sends"]


def bytes_held(work: Callable[[], object]) -> int:
    """Return how many bytes Python held more than before while ``work`` ran, at its worst.

    It tells of a storage that loads a whole thread, but not of a server that scans one.
    """
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        work()
        _, most = tracemalloc.get_traced_memory()
    finally:
        if not traced:
            tracemalloc.stop()
    return most - before


def sends(work: Callable[[], object]) -> int:
    """Return how often ``work`` sent something through a socket: a round trip each, for clients.

    Only by this thread, and only by clients that use Python's own sockets without TLS.
    """
    count = 0

    def note(_frame: object, event: str, function: Any) -> None:
        nonlocal count
        if (
            event == "c_call"
            and function.__name__ in {"send", "sendall", "sendmsg"}
            and isinstance(function.__self__, socket.socket)
        ):
            count += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
