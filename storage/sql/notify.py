"""News between processes by LISTEN and NOTIFY of PostgreSQL, for psycopg 3."""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import sqlalchemy

if TYPE_CHECKING:
    from collections.abc import Collection

    from torpor.storage.sql.engine import Database

__all__ = ["PostgreSQLNotifier", "channel_of"]


class PostgreSQLNotifier:
    """See ``torpor.storage.notifier.Notifier``. Waiting takes one connection beside the pool's.

    Behind a pooler of transactions (PgBouncer) nothing is ever heard, and whoever waits looks
    after its timeout.
    """

    def __init__(self, database: Database, channel: str) -> None:
        self._database = database
        self._channel = channel
        self._waiting = threading.Lock()
        self._closed = False
        self._connection: Any = None

    def notify(self, keys: Collection[str]) -> None:
        """Send the keys to all who wait. Raises ``StorageError``."""
        statement = sqlalchemy.text("SELECT pg_notify(:channel, :key)")
        rows = [{"channel": self._channel, "key": key} for key in keys]
        self._database.read(lambda connection: [connection.execute(statement, row) for row in rows])

    def wait(self, timeout: float) -> Collection[str]:
        """Return the keys that were sent, none after ``timeout`` seconds."""
        with self._waiting:
            if self._closed:
                return ()
            if self._connection is None:
                self._connect()
                return ()
            try:
                heard = self._connection.notifies(timeout=timeout, stop_after=1)
                return {news.payload for news in heard if news.payload}
            except self._database.engine.dialect.loaded_dbapi.Error:
                self._disconnect()
                raise

    def close(self) -> None:
        """End the waiting and its connection."""
        if self._closed:
            return
        self._closed = True
        if self._connection is not None:
            with suppress(Exception):  # who waits does so for a bounded time
                self.notify([""])
        with self._waiting:
            self._disconnect()

    def _connect(self) -> None:
        pooled = self._database.engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()  # it is used in ways of its own: never to be given to anybody else
        try:
            connection.autocommit = True
            connection.execute(f'LISTEN "{self._channel}"')
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def channel_of(table: sqlalchemy.Table, engine: sqlalchemy.Engine) -> str:
    """Return the channel of the store that ``table`` belongs to: one for each, in any process."""
    schema = table.schema
    if schema is None:
        with engine.connect() as connection:
            schema = str(connection.exec_driver_sql("SELECT current_schema()").scalar_one())
    digest = hashlib.blake2b(f"{schema}.{table.name}".encode(), digest_size=8).hexdigest()
    return f"torpor_{digest}"
