"""Damaged SQLite files: rows that were changed, with and without a new checksum, and pages."""

# ruff: noqa: S608 - the statements are these tests' own

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import ANYTHING, SCALARS, changed, mutated, text_of
from tests.fuzz.kit import (
    AGENT,
    KEYS,
    LOG,
    NEIGHBOUR,
    THREAD,
    fill,
    look_at,
    seal,
    stored,
)
from torpor.storage.errors import TorporError
from torpor.storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

RECORD = (
    *("key", "rev", "change_id", "deleted", "kind", "version"),
    *("wake_at", "updated_at", "thread", "checksum", "data"),
)
ENTRY = ("thread_id", "seq", "kind", "document", "checksum")
ROWS = [("checkpoints", AGENT), ("threads", LOG), ("entries", THREAD), ("entries", LOG)]
DOCUMENTS = ("thread", "data", "document")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file that the product has made."""
    path = tmp_path_factory.mktemp("sqlite") / "sound"
    with SQLiteStorage(path, synchronous="off") as storage:
        fill(storage)
    return path


@contextmanager
def copied(sound: Path) -> Generator[Path]:
    """Yield a copy of the file, for one example."""
    path = sound.with_name("copy")
    shutil.copyfile(sound, path)
    try:
        yield path
    finally:
        for each in sound.parent.glob("copy*"):
            each.unlink()


def rows_of(path: Path) -> list[Any]:
    """Return all rows, byte for byte."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
            for table in ("checkpoints", "threads", "entries")
        ]


class Damage(NamedTuple):
    """What is put into a column of the first row of a key."""

    table: str
    key: str
    column: str
    value: Any


def damage(path: Path, what: Damage, *, sealed: bool) -> None:
    """Do it, with a checksum that fits if ``sealed``."""
    table, value = what.table, what.value
    name, columns = ("thread_id", ENTRY) if table == "entries" else ("key", RECORD)
    place = "CAST(? AS TEXT)" if isinstance(value, str) else "?"
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.text_factory = bytes
        [rowid] = connection.execute(
            f"SELECT rowid FROM {table} WHERE {name} = ? LIMIT 1", (what.key,)
        ).fetchone()
        connection.execute(
            f"UPDATE OR IGNORE {table} SET {what.column} = {place} WHERE rowid = ?", (value, rowid)
        )
        if sealed and what.column != "checksum":
            row = connection.execute(f"SELECT * FROM {table} WHERE rowid = ?", (rowid,)).fetchone()
            fitting = checksum_of(dict(zip(columns, row, strict=True)))
            connection.execute(f"UPDATE {table} SET checksum = ? WHERE rowid = ?", (fitting, rowid))


def checksum_of(row: dict[str, Any]) -> int:
    """Return the checksum that the columns of a row should have."""
    if "document" in row:
        return seal(*(_text(row[name]) for name in ("thread_id", "seq", "document")))
    wake_at = row["wake_at"]
    parts: list[str | bytes] = [_text(row[name]) for name in RECORD[:6]]
    parts.append(repr(float(wake_at) if isinstance(wake_at, int | float) else wake_at))
    parts += [_text(row["thread"]), _text(row["data"])]
    return seal(*parts)


def _text(value: Any) -> str | bytes:
    return value if isinstance(value, bytes) else "" if value is None else str(value)


def _fits(value: Any) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


VALUES = SCALARS.filter(_fits) | st.binary(max_size=8) | ANYTHING.map(text_of)


@st.composite
def damages(draw: st.DrawFn, sound: Path) -> Damage:
    """Return a column, and what to put there."""
    table, key = draw(st.sampled_from(ROWS))
    columns = ENTRY if table == "entries" else RECORD
    column = draw(st.sampled_from(columns))
    value = draw(VALUES)
    if column in DOCUMENTS and draw(st.booleans()):
        with closing(sqlite3.connect(sound)) as connection:
            name = "thread_id" if table == "entries" else "key"
            [text] = connection.execute(
                f"SELECT {column} FROM {table} WHERE {name} = ?", (key,)
            ).fetchone()
        if text is None:
            return Damage(table, key, column, text_of(draw(ANYTHING)))
        if draw(st.booleans()):
            value = draw(mutated(text.encode())).decode("utf-8", "surrogateescape")
        else:
            value = text_of(draw(changed(json.loads(text))))
    return Damage(table, key, column, value)


@given(data=st.data(), sealed=st.booleans())
def test_changed_column(sound: Path, data: st.DataObject, *, sealed: bool) -> None:
    """Typed errors at most; no other record is disturbed, none is missing, nothing is written."""
    what = data.draw(damages(sound), "damage")
    with copied(sound) as path:
        with SQLiteStorage(path, synchronous="off") as storage:
            whole = {key: stored(storage, key) for key in KEYS}
        damage(path, what, sealed=sealed)
        before = rows_of(path)
        with SQLiteStorage(path, synchronous="off") as storage:
            look_at(storage)
            assert stored(storage, NEIGHBOUR) == whole[NEIGHBOUR]
            if not sealed and what.column != "key":
                assert stored(storage, AGENT) in (whole[AGENT], "damaged")
            storage.vacuum(-1e9)
        assert rows_of(path) == before


@given(data=st.data())
def test_changed_pages(sound: Path, data: st.DataObject) -> None:
    """Any fault of the file's bytes: it is opened or refused, and read without other errors."""
    content = sound.read_bytes()
    part = data.draw(st.sampled_from([100, 8192, len(content)]), "in the first bytes")
    begin = data.draw(st.integers(0, part - 100), "begin")
    faulty = data.draw(mutated(content[begin : begin + 100]), "instead")[:100].ljust(100, b"\0")
    with copied(sound) as path:
        path.write_bytes(content[:begin] + faulty + content[begin + 100 :])
        with suppress(TorporError), SQLiteStorage(path, synchronous="off") as storage:
            look_at(storage)
