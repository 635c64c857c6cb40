"""Operations for a migration history of your own, by Alembic.

In a migration, for a ``SQLStorage`` that is then opened with ``create=False``::

    from torpor.storage import migrations

    def upgrade():
        migrations.create_storage_tables(version=1)

    def downgrade():
        migrations.drop_storage_tables(version=1)

What a version means never changes. A newer Torpor that needs newer tables says so when the
storage is opened, and has an operation for the step. They work offline (``--sql``) too.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import literal_column
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from torpor.storage.sql.schema import Tables, make_tables

__all__ = ["create_storage_tables", "drop_storage_tables"]


def create_storage_tables(
    version: int, *, schema: str | None = None, table_prefix: str = "torpor_"
) -> None:
    """Create the tables of ``version``. On SQLite give the storage the same ``table_prefix``.

    Raises ``ConfigurationError`` for a version that there is not.
    """
    tables = _tables(version, schema, table_prefix)
    for table in tables.metadata.sorted_tables:
        op.execute(CreateTable(table))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            op.execute(CreateIndex(index))
    op.execute(tables.version.insert().values(version=literal_column(str(version))))


def drop_storage_tables(
    version: int, *, schema: str | None = None, table_prefix: str = "torpor_"
) -> None:
    """Drop the tables of ``version``, with all that is in them."""
    for table in reversed(_tables(version, schema, table_prefix).metadata.sorted_tables):
        op.execute(DropTable(table))


def _tables(version: int, schema: str | None, prefix: str) -> Tables:
    return make_tables(op.get_context().dialect.name, version=version, schema=schema, prefix=prefix)
