"""The statements of the SQL backend in the language of MySQL and MariaDB.

PyMySQL makes one statement of an INSERT of many rows, up to 1 MB; of nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects.mysql import insert

from torpor.storage.errors import ConfigurationError
from torpor.storage.sql.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Table

    from torpor.storage.records import Space
    from torpor.storage.sql.statements import Row

__all__ = ["MySQLStatements"]

_REST_OF_PACKET = 64 * 1024


class MySQLStatements(Statements):
    """Few round trips by multi-row statements."""

    def inspect(self, connection: Connection) -> None:
        """Learn the largest statement; escaping may double what is in it.

        Raises ``ConfigurationError`` if the session would store something else than it is given.
        """
        packet, mode = connection.exec_driver_sql("SELECT @@max_allowed_packet, @@sql_mode").one()
        if "STRICT" not in mode:
            msg = (
                "the sessions of this engine cut values off: their sql_mode lacks STRICT_ALL_TABLES"
            )
            raise ConfigurationError(msg)
        self.max_document_bytes = max(0, packet - _REST_OF_PACKET) // 2

    def update_records(self, connection: Connection, space: Space, rows: Sequence[Row]) -> None:
        """Replace rows."""
        _upsert(connection, self._tables.records[space], rows)

    def write_entries(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Write entries, in place of stray ones."""
        _upsert(connection, self._tables.entries, rows)


def _upsert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    statement = insert(table)
    replaced: dict[str, Any] = {
        column.name: statement.inserted[column.name] for column in table.c if not column.primary_key
    }
    names = [column.name for column in table.c]
    connection.execute(
        statement.on_duplicate_key_update(replaced),
        [dict(zip(names, row, strict=True)) for row in rows],
    )
