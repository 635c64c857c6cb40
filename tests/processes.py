"""Processes of their own for what tests do to a store from outside."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Barrier

__all__ = ["PATIENCE", "barrier", "child"]

PATIENCE = 60.0
"""Seconds after which a test stops waiting for what should have happened long ago."""

_IMPORTED = [
    *("torpor", "torpor.storage.file", "torpor.storage.sqlite", "torpor.storage.sql"),
    *("torpor.storage.redis", "torpor.storage.mongodb", "torpor.storage.dynamodb"),
    *("sqlalchemy.dialects.mysql.pymysql", "sqlalchemy.dialects.postgresql.psycopg"),
    *("sqlalchemy.dialects.sqlite.pysqlite", "psycopg", "pymysql"),
]
# A server that has imported all that, as far as it is there, and forks, starts processes many
# times faster. They are no forks of this process, which has threads.
_context: Any = multiprocessing.get_context(
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)
_context.set_forkserver_preload(_IMPORTED)


def barrier(parties: int) -> Barrier:
    """Return a barrier for so many processes."""
    made: Barrier = _context.Barrier(parties)
    return made


@contextmanager
def child(job: Callable[..., None], *arguments: Any) -> Generator[tuple[BaseProcess, Connection]]:
    """Run ``job(*arguments, connection)`` in a new process; kill it when the block is left.

    Yields the process and the end of the connection that receives what the job sends.
    """
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(
        target=_run, args=(dict(os.environ), job, *arguments, sender), daemon=True
    )
    process.start()
    sender.close()
    with receiver:
        try:
            yield process, receiver
        finally:
            process.kill()
            process.join(PATIENCE)


def _run(environment: dict[str, str], job: Callable[..., None], *arguments: Any) -> None:
    os.environ.update(environment)  # which may have changed since that server was started
    job(*arguments)
