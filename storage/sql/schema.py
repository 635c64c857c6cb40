r"""The tables of the SQL backend, for each version of them and each database.

State stands in them byte for byte as it was put, and can be queried:

- PostgreSQL has ``json`` columns: ``SELECT key, data ->> 'count' FROM torpor_checkpoints``.
  (``jsonb`` would reorder the document, and refuse ``\u0000``. So do the operators of
  ``json``, when they meet it in a string.)
- MySQL and MariaDB have ``LONGTEXT``, which for state must be ``JSON_VALID``:
  ``SELECT `key`, JSON_VALUE(data, '$.count') FROM torpor_checkpoints``. Keys are binary there,
  as only binary columns tell letter case and trailing spaces apart: ``CONVERT(`key` USING
  utf8mb4)`` makes them text.
- SQLite has the tables of ``torpor.storage.sqlite``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    cast,
    func,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from torpor.storage.errors import ConfigurationError
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Dialect

__all__ = ["SCHEMA_VERSION", "Tables", "default_prefix", "make_tables"]

SCHEMA_VERSION = 1

_MAX_ID_BYTES = 576  # a key of 512, "#" and the unique id of the thread that it owns
_MYSQL = {"mysql", "mariadb"}


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one store. ``version`` holds one row: which version the others have."""

    metadata: MetaData
    records: Mapping[Space, Table]
    entries: Table
    version: Table


class _JSONText(UserDefinedType[str]):
    """PostgreSQL's ``json``, read as the text that it is."""

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        return "JSON"

    def column_expression(self, colexpr: ColumnElement[str]) -> ColumnElement[str]:
        return cast(colexpr, Text())


class _BinaryText(TypeDecorator[str]):
    """Text in a binary column of MySQL: no two strings are equal there unless they are."""

    impl = mysql.LONGBLOB
    cache_ok = True

    def __init__(self, binary: TypeEngine[bytes]) -> None:
        super().__init__()
        self.binary = binary

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(self.binary)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else value.encode()

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        # What is broken must not hide its neighbours; its checksum will tell.
        return None if value is None else str(value, "utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class _Types:
    """How one database stores what a row is made of."""

    id: TypeEngine[Any]
    """Up to 576 bytes, compared and ordered byte by byte."""
    text: TypeEngine[Any]
    json: TypeEngine[Any]
    whole: TypeEngine[Any]
    flag: TypeEngine[Any]
    real: TypeEngine[Any]


def _types(dialect: str) -> _Types:
    if dialect == "postgresql":
        exact = Text(collation="C")
        return _Types(exact, exact, _JSONText(), BigInteger(), SmallInteger(), Double())
    if dialect in _MYSQL:
        return _Types(
            id=_BinaryText(mysql.VARBINARY(_MAX_ID_BYTES)),
            text=_BinaryText(mysql.LONGBLOB()),
            json=mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"),
            whole=BigInteger(),
            flag=SmallInteger(),
            real=mysql.DOUBLE(asdecimal=False),
        )
    if dialect == "sqlite":
        return _Types(Text(), Text(), Text(), Integer(), Integer(), REAL())
    return _Types(Text(), Text(), Text(), BigInteger(), SmallInteger(), Double())


def default_prefix(dialect: str) -> str:
    """Return what the names of tables begin with, unless somebody chose it.

    A server's database is shared with other programs; the file of a SQLite storage is not.
    """
    return "" if dialect == "sqlite" else "torpor_"


def make_tables(
    dialect: str, *, version: int = SCHEMA_VERSION, schema: str | None = None, prefix: str
) -> Tables:
    """Return the tables of ``version``, which never change once that version is released.

    Raises ``ConfigurationError`` for a version that there is not.
    """
    if version != 1:
        msg = f"there is no version {version} of the tables; there is 1 to {SCHEMA_VERSION}"
        raise ConfigurationError(msg)
    metadata = MetaData(schema=schema)
    types = _types(dialect)
    options = _table_options(dialect)
    return Tables(
        metadata=metadata,
        records={
            space: _record_table(metadata, dialect, types, f"{prefix}{space.value}", options)
            for space in Space
        },
        entries=Table(
            f"{prefix}entries",
            metadata,
            Column("thread_id", types.id, primary_key=True),
            Column("seq", types.whole, primary_key=True, autoincrement=False),
            Column("kind", types.text),
            Column("document", types.json),
            Column("checksum", types.whole),
            **options,
        ),
        version=Table(
            f"{prefix}schema",
            metadata,
            Column("version", types.whole, primary_key=True, autoincrement=False),
            **options,
        ),
    )


def _record_table(
    metadata: MetaData, dialect: str, types: _Types, name: str, options: Mapping[str, Any]
) -> Table:
    table = Table(
        name,
        metadata,
        Column("key", types.id, primary_key=True),
        Column("rev", types.whole),
        Column("change_id", types.text),
        Column("deleted", types.flag),
        Column("kind", types.text),
        Column("version", types.whole),
        Column("wake_at", types.real),
        Column("updated_at", types.real),
        Column("thread", types.json),
        Column("checksum", types.whole),
        Column("data", types.json),
        **options,
    )
    if dialect in _MYSQL:
        table.append_constraint(CheckConstraint(func.json_valid(table.c.data)))
    waking: dict[str, Any] = {}
    dead: dict[str, Any] = {}
    for known in ("postgresql", "sqlite"):  # the others index all rows
        waking[f"{known}_where"] = text("wake_at IS NOT NULL")
        dead[f"{known}_where"] = text("deleted = 1")
    Index(f"{name}_due", table.c.wake_at, **waking)
    if dialect in _MYSQL:
        Index(f"{name}_dead", table.c.deleted, table.c.updated_at)
    else:
        Index(f"{name}_dead", table.c.updated_at, **dead)
    return table


def _table_options(dialect: str) -> dict[str, Any]:
    if dialect not in _MYSQL:
        return {}
    options = {"engine": "InnoDB", "charset": "utf8mb4", "row_format": "DYNAMIC"}
    return {f"{dialect}_{name}": value for name, value in options.items()}
