"""Checkpoints and threads in a SQL database, by SQLAlchemy: PostgreSQL, MySQL, MariaDB, others."""

from __future__ import annotations

from torpor.storage.sql.storage import SQLStorage

__all__ = ["SQLStorage"]
