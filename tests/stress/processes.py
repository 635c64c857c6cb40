"""Processes of their own for what the stress tests do to a store from outside."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from multiprocessing.synchronize import Barrier

__all__ = ["PATIENCE", "barrier", "child"]

PATIENCE = 60.0
"""Seconds after which a test stops waiting for what should have happened long ago."""

_spawn = multiprocessing.get_context("spawn")


def barrier(parties: int) -> Barrier:
    """Return a barrier for so many processes."""
    return _spawn.Barrier(parties)


@contextmanager
def child(job: Callable[..., None], *arguments: Any) -> Generator[tuple[SpawnProcess, Connection]]:
    """Run ``job(*arguments, connection)`` in a new process; kill it when the block is left.

    Yields the process and the end of the connection that receives what the job sends.
    """
    receiver, sender = _spawn.Pipe(duplex=False)
    process = _spawn.Process(target=job, args=(*arguments, sender), daemon=True)
    process.start()
    sender.close()
    with receiver:
        try:
            yield process, receiver
        finally:
            process.kill()
            process.join(PATIENCE)
