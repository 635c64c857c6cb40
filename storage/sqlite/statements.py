"""The schema and the statements of the SQLite backend.

Each ``sqlite3`` step lets go of the interpreter lock and has to win it back, which takes
milliseconds while another thread computes. So a batch takes one step each way: what is wanted
goes in as one JSON array, what is found comes back as one value, and writes are multi-row
statements. That value is a blob of UTF-8, so that one column of broken text does not make all
of it unreadable.

The columns have no NOT NULL on purpose: a constraint that may abort in the middle of a
multi-row statement makes SQLite keep a statement journal, at a third of the write rate. Tables
have a rowid for the same reason: rows of 1 KB in the tree of the text key halve it.
"""

# ruff: noqa: S608 - no value is ever put into a statement, only names that stand in this file

from __future__ import annotations

from functools import cache
from operator import itemgetter

from torpor.storage.records import Space

__all__ = [
    "CREATE",
    "DELETE_ENTRIES",
    "ENTRY_IDS",
    "FIELD",
    "INTEGRITY",
    "LIST_DUE",
    "LIST_THREADS",
    "REPLACE",
    "ROW",
    "SCHEMA",
    "create_or_replace",
    "insert_entries",
    "list_keys",
    "list_records",
    "parameters_of_replace",
    "read_entries",
    "read_record",
    "read_records",
    "read_revision",
    "read_revisions",
    "strange_keys",
    "upsert",
    "vacuum",
]

_RECORD_COLUMNS = (
    "key",
    "rev",
    "change_id",
    "deleted",
    "kind",
    "version",
    "wake_at",
    "updated_at",
    "thread",
    "checksum",
    "data",
)
_ENTRY_COLUMNS = ("thread_id", "seq", "kind", "document", "checksum")

_RECORD_TABLE = """
CREATE TABLE {table} (
    key TEXT PRIMARY KEY,
    rev INTEGER,
    change_id TEXT,
    deleted INTEGER,
    kind TEXT,
    version INTEGER,
    wake_at REAL,
    updated_at REAL,
    thread TEXT,
    checksum INTEGER,
    data TEXT
);
CREATE INDEX {table}_due ON {table} (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX {table}_dead ON {table} (updated_at) WHERE deleted = 1;
"""

SCHEMA = (
    "".join(_RECORD_TABLE.format(table=space.value) for space in Space)
    + """
CREATE TABLE entries (
    thread_id TEXT,
    seq INTEGER,
    kind TEXT,
    document TEXT,
    checksum INTEGER,
    PRIMARY KEY (thread_id, seq)
);
"""
)

# Reals go through ``quote``, which writes all their digits (nearly: where SQLite has no long
# doubles the last may differ, the checksum tells, and the row is read alone).

# Between the fields and rows of ``read_records``. JSON has no such characters; where a kind or
# a change's id has them, the row does not pass its checksum and is read alone.
FIELD, ROW = "\x1f", "\x1e"


@cache
def read_record(space: Space) -> str:
    """One record, by key."""
    return f"SELECT {', '.join(_RECORD_COLUMNS)} FROM {space.value} WHERE key = ?"


@cache
def read_records(space: Space) -> str:
    """Records by a JSON array of keys, joined; in place of the key its index in that array."""
    columns = (
        "rev",
        "change_id",
        "deleted",
        "kind",
        "version",
        "quote(wake_at)",
        "quote(updated_at)",
        "thread",
        "checksum",
        "data",
    )
    # NULL would make the whole row NULL, and the record look as if it were missing.
    row = " || char(31) || ".join(f"coalesce({column}, '')" for column in ("wanted.key", *columns))
    return f"SELECT CAST(group_concat({row}, char(30)) AS BLOB) {_wanted(space)}"


# What decides a change. The thread's head goes on from what is stored, so it has to be sound,
# which takes the data too to tell; a record without a thread is replaced whole.
_DATA_OF_OWNER = "CASE WHEN thread IS NOT NULL THEN CAST(data AS TEXT) END"


@cache
def read_revision(space: Space) -> str:
    """The columns of ``read_record``, by key; without data if there is no thread."""
    columns = ", ".join((*_RECORD_COLUMNS[:-1], _DATA_OF_OWNER))
    return f"SELECT {columns} FROM {space.value} WHERE key = ?"


@cache
def read_revisions(space: Space) -> str:
    """The same by a JSON array of keys, as JSON; before the columns the index in that array."""
    columns = f"wanted.key, {_JSON_COLUMNS}, {_DATA_OF_OWNER}"
    return f"SELECT CAST(json_group_array(json_array({columns})) AS BLOB) {_wanted(space)}"


def _wanted(space: Space) -> str:
    return (
        f"FROM json_each(?) AS wanted CROSS JOIN {space.value} AS stored"
        " ON stored.key = wanted.value"
    )


_JSON_COLUMNS = """
    stored.key, CASE typeof(rev) WHEN 'integer' THEN rev END, CAST(change_id AS TEXT),
    CAST(deleted AS INTEGER), CAST(kind AS TEXT), CAST(version AS INTEGER),
    quote(wake_at), quote(updated_at),
    CAST(thread AS TEXT), CAST(checksum AS INTEGER)
"""  # no-ops, unless there is a blob, which JSON cannot hold, or a revision that is no number


@cache
def list_records(space: Space) -> str:
    """At most ``?`` live records with ``? <= key <= ?``, in key order, as JSON."""
    return f"""
        SELECT CAST(json_group_array(json_array({_JSON_COLUMNS}, CAST(data AS TEXT))) AS BLOB)
        FROM (
            SELECT * FROM {space.value}
            WHERE key >= CAST(? AS TEXT) AND key <= ? AND deleted = 0 ORDER BY key LIMIT ?
        ) AS stored
    """


@cache
def list_keys(space: Space, *, tombstones: bool) -> str:
    """At most ``?`` keys with ``? <= key``, in order, as JSON. With tombstones by index alone."""
    live = "" if tombstones else "AND deleted IS NOT 1"
    return f"""
        SELECT CAST(json_group_array(key) AS BLOB) FROM (
            SELECT key FROM {space.value} WHERE key >= CAST(? AS TEXT) AND key < {_AFTER_TEXT}
            {live} ORDER BY key LIMIT ?
        )
    """


_AFTER_TEXT = "X''"  # whatever is not text comes before all text, or behind it, as blobs do


def strange_keys(space: Space) -> str:
    """What stands in place of a key and is no text, quoted, as JSON."""
    text = f"key >= '' AND key < {_AFTER_TEXT}"
    return f"""
        SELECT CAST(json_group_array(quote(key)) AS BLOB) FROM {space.value}
        WHERE ({text}) IS NOT TRUE
    """


INTEGRITY = """
    SELECT CAST(group_concat(integrity_check, char(10)) AS BLOB) FROM pragma_integrity_check
"""

# At most ``?`` ids of threads with entries, from ``?`` on, in order, as JSON. One step of the
# index each, however many entries a thread has.
LIST_THREADS = f"""
    WITH RECURSIVE ids (id) AS (
        SELECT min(thread_id) FROM entries
        WHERE thread_id >= CAST(? AS TEXT) AND thread_id < {_AFTER_TEXT}
        UNION ALL
        SELECT (
            SELECT min(thread_id) FROM entries
            WHERE thread_id > ids.id AND thread_id < {_AFTER_TEXT}
        ) FROM ids
        WHERE ids.id IS NOT NULL
    )
    SELECT CAST(json_group_array(id) AS BLOB)
    FROM (SELECT id FROM ids WHERE id IS NOT NULL LIMIT ?)
"""


def _due(space: Space) -> str:
    return f"""
        SELECT * FROM (
            SELECT '{space.value}' AS space, key, wake_at FROM {space.value}
            WHERE wake_at <= :before AND key >= '' AND key < {_AFTER_TEXT}
            ORDER BY wake_at LIMIT :limit
        )
    """


LIST_DUE = f"""
    SELECT CAST(json_group_array(json_array(space, key, quote(wake_at))) AS BLOB)
    FROM ({" UNION ALL ".join(_due(space) for space in Space)} ORDER BY wake_at LIMIT :limit)
"""

ENTRY_IDS = """
    SELECT CAST(json_group_array(json_array(
        wanted.key,
        coalesce(CASE WHEN json_valid(document) THEN json_extract(document, '$.id') END, '')
    )) AS BLOB)
    FROM json_each(?) AS wanted CROSS JOIN entries
        ON thread_id = json_extract(wanted.value, '$[0]')
        AND seq = json_extract(wanted.value, '$[1]')
"""


@cache
def read_entries(*, of_kinds: bool, newest: bool) -> str:
    """Entries of one thread, joined: ``seq``, checksum, document."""
    kinds = "AND kind IN (SELECT value FROM json_each(:kinds))" if of_kinds else ""
    return f"""
        SELECT CAST(group_concat(
            seq || char(31) || checksum || char(31) || document, char(30)
        ) AS BLOB)
        FROM (
            SELECT seq, checksum, document FROM entries
            WHERE thread_id = :thread AND seq >= :start AND seq < :stop {kinds}
            ORDER BY seq {"DESC" if newest else "ASC"} LIMIT :limit
        )
    """


@cache
def upsert(space: Space, rows: int) -> str:
    """Write ``rows`` records."""
    replaced = ", ".join(f"{name} = excluded.{name}" for name in _RECORD_COLUMNS[1:])
    return (
        f"INSERT INTO {space.value} {_values(_RECORD_COLUMNS, rows)}"
        f" ON CONFLICT (key) DO UPDATE SET {replaced}"
    )


def _places(columns: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return ", ".join([row] * rows)


# What goes without reading first: see ``direct``. The columns that no such write changes are left
# alone, and so are their indices.
_WRITTEN = [name for name in _RECORD_COLUMNS[1:] if name not in {"deleted", "thread"}]

# One record where there is none.
CREATE = f"""
    INSERT INTO {Space.CHECKPOINTS.value} ({", ".join(_RECORD_COLUMNS)})
    VALUES {_places(_RECORD_COLUMNS, 1)} ON CONFLICT (key) DO NOTHING
"""

# One record in place of the one at the revision before, if that has no thread; its parameters
# are ``parameters_of_replace`` of its row.
REPLACE = f"""
    UPDATE {Space.CHECKPOINTS.value} SET {", ".join(f"{name} = ?" for name in _WRITTEN)}
    WHERE key = ? AND rev = ? - 1 AND deleted = 0 AND thread IS NULL
"""
parameters_of_replace = itemgetter(
    *(_RECORD_COLUMNS.index(name) for name in (*_WRITTEN, "key", "rev"))
)


@cache
def create_or_replace(rows: int) -> str:
    """Do for each of ``rows`` records what fits its revision; all or, with an error, nothing.

    Up to three times as fast as ``UPDATE ... FROM (VALUES ...)``, which puts all rows by twice.
    """
    table = Space.CHECKPOINTS.value
    new = ", ".join(f"new.column{i}" for i in range(1, len(_RECORD_COLUMNS) + 1))
    fits = f"{table}.rev = excluded.rev - 1 AND {table}.deleted = 0 AND {table}.thread IS NULL"
    replaced = [f"{name} = excluded.{name}" for name in _WRITTEN if name != "rev"]
    abort = _abort("excluded.key")
    replaced.append(f"rev = CASE WHEN {fits} THEN excluded.rev ELSE {abort} END")
    return f"""
        INSERT INTO {table} ({", ".join(_RECORD_COLUMNS)})
        SELECT {new} FROM (VALUES {_places(_RECORD_COLUMNS, rows)}) AS new
        LEFT JOIN {table} AS stored ON stored.key = new.column1
        WHERE CASE
            WHEN new.column1 IS NULL THEN 0
            WHEN (stored.rowid IS NULL) = (new.column2 = 1) THEN 1
            ELSE {_abort("new.column1")}
        END
        ON CONFLICT (key) DO UPDATE SET {", ".join(replaced)}
    """


def _abort(key: str) -> str:
    """Return an expression that raises an error: no JSON begins so.

    It is no constant, which SQLite might compute beforehand.
    """
    return f"json('?' || {key})"


@cache
def insert_entries(rows: int) -> str:
    """Write ``rows`` entries."""
    return f"INSERT OR REPLACE INTO entries {_values(_ENTRY_COLUMNS, rows)}"


def _values(columns: tuple[str, ...], rows: int) -> str:
    return (
        f"({', '.join(columns)})"
        f" SELECT * FROM (VALUES {_places(columns, rows)}) WHERE column1 IS NOT NULL"
    )


# By a JSON array of [thread id, seq]: every entry of that thread before that seq.
DELETE_ENTRIES = """
    DELETE FROM entries WHERE rowid IN (
        SELECT entries.rowid FROM json_each(?) AS doomed CROSS JOIN entries
            ON thread_id = json_extract(doomed.value, '$[0]')
            AND seq < json_extract(doomed.value, '$[1]')
    )
"""


@cache
def vacuum(space: Space) -> str:
    """Remove tombstones older than ``?``; what holds more than those do is a damaged record."""
    empty = "data IS NULL AND thread IS NULL"
    return f"DELETE FROM {space.value} WHERE deleted = 1 AND updated_at < ? AND {empty}"
