"""Servers to store in: PostgreSQL as it runs here, and a Redis of the benchmark's own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["POSTGRESQL", "postgresql", "redis_everysec"]

POSTGRESQL = os.environ.get("TORPOR_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/test")


@contextmanager
def postgresql() -> Generator[str]:
    """Yield the URL of an empty schema, which is dropped at the end."""
    import psycopg  # noqa: PLC0415 - not every case needs a server
    from psycopg.sql import SQL, Identifier  # noqa: PLC0415 - likewise

    schema = f"torpor_bench_{secrets.token_hex(4)}"
    try:
        yield f"{POSTGRESQL}{'&' if '?' in POSTGRESQL else '?'}schema={schema}"
    finally:
        with psycopg.connect(POSTGRESQL) as connection:
            connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))


@contextmanager
def redis_everysec(folder: Path) -> Generator[str]:
    """Yield the URL of a Redis that forces its append-only file to disk every second."""
    program = shutil.which("redis-server")
    if program is None:
        msg = "this case needs a redis-server"
        raise FileNotFoundError(msg)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
    options = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
    place = ["--port", f"{port}", "--bind", "127.0.0.1", "--dir", f"{folder}", "--daemonize", "no"]
    server = subprocess.Popen([program, *place, *options], stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                assert server.poll() is None, "redis-server does not start"
                time.sleep(0.01)
            else:
                break
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()
