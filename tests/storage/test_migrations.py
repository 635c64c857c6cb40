"""Operations for the migration histories of users."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import NullPool, create_engine, inspect

from tests.places.sql import MARIADB, POSTGRESQL
from torpor.storage import migrations
from torpor.storage.errors import ConfigurationError
from torpor.storage.sql import SQLStorage
from torpor.storage.testing.kit import owned, payloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def engine(
    request: pytest.FixtureRequest, empty_place: Callable[[str], str], tmp_path: Path
) -> Iterator[Engine]:
    """Return an engine for each database in turn."""
    if request.param == "sqlite":
        engine = create_engine(f"sqlite:///{tmp_path}/app.db")
        yield engine
        engine.dispose()
    else:
        empty_place(request.param)
        yield {"postgresql": POSTGRESQL, "mariadb": MARIADB}[request.param].admin


@pytest.fixture
def schema(engine: Engine) -> str | None:
    """Return the schema of these tests, which other prefixes share."""
    for server in (POSTGRESQL, MARIADB):
        if server.admin is engine:
            return server.schema
    return None


def _migrate(engine: Engine, operation: Callable[..., None], *arguments: Any, **named: Any) -> None:
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            operation(*arguments, **named)


def _shape(engine: Engine, schema: str | None, prefix: str) -> dict[str, Any]:
    """Return columns, keys and indexes of the tables with a prefix, the prefix left out."""
    inspector = inspect(engine)
    shape: dict[str, Any] = {}
    for table in sorted(inspector.get_table_names(schema)):
        if table.startswith(prefix):
            columns = [
                (column["name"], str(column["type"]))
                for column in inspector.get_columns(table, schema)
            ]
            indexes = sorted(
                (str(index["name"]).removeprefix(prefix), index["column_names"])
                for index in inspector.get_indexes(table, schema)
            )
            key = inspector.get_pk_constraint(table, schema)["constrained_columns"]
            shape[table.removeprefix(prefix)] = (columns, key, indexes)
    return shape


def test_migrated_tables_are_used(engine: Engine, schema: str | None) -> None:
    """A storage that may create nothing finds them, and works on them."""
    where = {"schema": schema, "table_prefix": "moved_"}
    _migrate(engine, migrations.create_storage_tables, 1, **where)

    with SQLStorage(engine, create=False, schema=schema, table_prefix="moved_") as storage:
        storage.commit([owned("agent", "agent#1", 1)])
        assert payloads(storage.load_thread("agent#1")) == [1]

    _migrate(engine, migrations.drop_storage_tables, 1, **where)
    assert _shape(engine, schema, "moved_") == {}
    with pytest.raises(ConfigurationError):
        SQLStorage(engine, create=False, schema=schema, table_prefix="moved_")


def test_migration_makes_what_create_makes(engine: Engine, schema: str | None) -> None:
    """Both ways lead to the same columns, keys and indexes."""
    _migrate(engine, migrations.create_storage_tables, 1, schema=schema, table_prefix="one_")
    SQLStorage(engine, schema=schema, table_prefix="two_").close()

    shape = _shape(engine, schema, "one_")
    assert set(shape) == {"checkpoints", "threads", "entries", "schema"}
    assert shape == _shape(engine, schema, "two_")
    for prefix in ("one_", "two_"):
        _migrate(engine, migrations.drop_storage_tables, 1, schema=schema, table_prefix=prefix)


@pytest.mark.parametrize("operation", ["create_storage_tables", "drop_storage_tables"])
def test_unknown_version(operation: str) -> None:
    """A migration names a version that this code knows, or does nothing."""
    with pytest.raises(ConfigurationError, match="no version 2"):
        _migrate(create_engine("sqlite://", poolclass=NullPool), getattr(migrations, operation), 2)


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "sqlite"])
def test_offline(dialect: str) -> None:
    """Without a database the operations write the statements that somebody will run."""
    script = io.StringIO()
    options = {"as_sql": True, "output_buffer": script}
    context = MigrationContext.configure(dialect_name=dialect, opts=options)
    with Operations.context(context):
        migrations.create_storage_tables(1)

    assert script.getvalue().count("CREATE TABLE torpor_") == 4
    assert "INSERT INTO torpor_schema (version) VALUES (1)" in script.getvalue()


FROZEN = """
CREATE TABLE torpor_checkpoints (
    key TEXT COLLATE "C" NOT NULL,
    rev BIGINT,
    change_id TEXT COLLATE "C",
    deleted SMALLINT,
    kind TEXT COLLATE "C",
    version BIGINT,
    wake_at DOUBLE PRECISION,
    updated_at DOUBLE PRECISION,
    thread JSON,
    checksum BIGINT,
    data JSON,
    PRIMARY KEY (key)
);
CREATE INDEX torpor_checkpoints_dead ON torpor_checkpoints (updated_at) WHERE deleted = 1;
CREATE INDEX torpor_checkpoints_due ON torpor_checkpoints (wake_at) WHERE wake_at IS NOT NULL;
CREATE TABLE torpor_entries (
    thread_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT COLLATE "C",
    document JSON,
    checksum BIGINT,
    PRIMARY KEY (thread_id, seq)
);
CREATE TABLE torpor_schema (
    version BIGINT NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE torpor_threads (
"""


def test_version_is_frozen() -> None:
    """What version 1 means for those who migrated to it does not change."""
    script = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": script}
    )
    with Operations.context(context):
        migrations.create_storage_tables(1)

    assert _words(FROZEN) in _words(script.getvalue())


def _words(script: str) -> str:
    return " ".join(script.split())
