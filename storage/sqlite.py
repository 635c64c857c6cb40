"""Checkpoints and threads in one SQLite file, by the standard library's driver."""

from __future__ import annotations

import json
import sqlite3
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import parse_qsl, unquote

from torpor.storage import codec
from torpor.storage import sqlite_statements as sql
from torpor.storage.base import Storage
from torpor.storage.errors import ConfigurationError, CorruptRecordError, StorageError
from torpor.storage.plan import Write, plan
from torpor.storage.records import Due, Record, Rejected, Space
from torpor.storage.sqlite_file import DatabaseFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Sequence

    from torpor.storage.records import Change, Entry, Outcome
    from torpor.storage.sqlite_file import Synchronous

__all__ = ["SQLiteStorage"]

_OPTIONS: dict[str, Callable[[str], Any]] = {
    "synchronous": str,
    "busy_timeout": float,
    "page_size": int,
    "max_bytes": int,
}
_ENTRIES_AT_ONCE = 1000
_WHOLE_THREAD = 2**63 - 1
_AFTER_ALL = "\U0010ffff" * 150  # behind a prefix: not before any key that begins with it
_BROKEN_ROW = (ValueError, TypeError, CorruptRecordError)


class SQLiteStorage(Storage):
    """One file in WAL mode."""

    name: ClassVar[str] = "sqlite"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "full",
        busy_timeout: float = 5.0,
        page_size: int = 8192,
        max_bytes: int | None = None,
    ) -> None:
        super().__init__()
        if str(path) in {"", ":memory:"}:
            msg = "a SQLite storage is a file; for one in memory use MemoryStorage, 'memory:'"
            raise ConfigurationError(msg)
        self.timeout = busy_timeout
        self._file = DatabaseFile(
            Path(path),
            synchronous=synchronous,
            busy_timeout=busy_timeout,
            page_size=page_size,
            max_bytes=max_bytes,
        )

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open ``sqlite:///relative/path`` or ``sqlite:////absolute/path``, percent-encoded.

        Options may stand in the URL too, ``?synchronous=normal&busy_timeout=2``; ``options``
        win.
        """
        place, _, query = url.partition("?")
        if not place.startswith("sqlite:///"):
            msg = f"{url!r} names no file: write sqlite:///path, or use MemoryStorage, 'memory:'"
            raise ConfigurationError(msg)
        try:
            given = {name: _OPTIONS[name](value) for name, value in parse_qsl(query)}
            if not options.keys() <= _OPTIONS.keys():
                raise KeyError(*options.keys() - _OPTIONS.keys())
        except (KeyError, ValueError) as error:
            msg = f"{url!r}: SQLite storage has the options {', '.join(_OPTIONS)}; not {error}"
            raise ConfigurationError(msg) from error
        return cls(unquote(place.removeprefix("sqlite:///")), **{**given, **options})

    def size_bytes(self) -> int:
        """Return the bytes on disk: the file and its write-ahead log."""
        return self._file.size_bytes()

    # -- reading ------------------------------------------------------------------------------

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | StorageError | None]:
        if len(keys) == 1:
            return [self._read_one(space, keys[0])]
        found: list[Record | StorageError | None] = [None] * len(keys)
        broken = False
        for row in self._fetch_text(sql.read_records(space), (_json(keys),)).split(sql.ROW):
            if not row:
                continue
            try:
                index, *fields = row.split(sql.FIELD)
                found[int(index)] = _record_of_text(keys[int(index)], fields)
            except (*_BROKEN_ROW, IndexError):
                broken = True
        if broken:
            for i, key in enumerate(keys):
                found[i] = found[i] or self._read_one(space, key)
        return found

    def _read_one(self, space: Space, key: str) -> Record | StorageError | None:
        try:
            row = self._file.fetch(sql.read_record(space), (key,))
            return None if row is None else _record_of_row(key, row)
        except CorruptRecordError as error:
            return CorruptRecordError(key, error.detail)

    def _fetch_text(self, statement: str, parameters: Any) -> str:
        """Return the one value of a statement; broken text in it as lone surrogates."""
        [value] = self._file.fetch(statement, parameters)
        return str(value or b"", "utf-8", "surrogateescape")

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        ids: list[str | None] = [None] * len(places)
        for index, entry_id in json.loads(self._fetch_text(sql.ENTRY_IDS, (_json(places),))):
            ids[index] = entry_id
        return ids

    def _read_entries(  # noqa: PLR0913 - see Storage
        self,
        thread_id: str,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None,
        limit: int | None,
        newest: bool,
    ) -> Sequence[Entry]:
        statement = sql.read_entries(of_kinds=kinds is not None, newest=newest)
        wanted = stop - start if limit is None else limit
        entries: list[Entry] = []
        while wanted > 0:
            count = min(wanted, _ENTRIES_AT_ONCE)
            text = self._fetch_text(
                statement,
                {
                    "thread": thread_id,
                    "start": start,
                    "stop": stop,
                    "limit": count,
                    "kinds": _json(sorted(kinds or ())),
                },
            )
            page = [_entry_of_text(thread_id, row) for row in text.split(sql.ROW) if row]
            entries += page
            if len(page) < count:
                break
            wanted -= count
            if newest:
                stop = page[-1].seq
            else:
                start = page[-1].seq + 1
        if newest:
            entries.reverse()
        return entries

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        begin = prefix if after is None else max(prefix, after + "\0")
        records: list[Record] = []
        while len(records) < limit:
            count = limit - len(records)
            text = self._fetch_text(
                sql.list_records(space),
                (begin.encode("utf-8", "surrogateescape"), prefix + _AFTER_ALL, count),
            )
            rows = json.loads(text)
            for row in rows:
                try:
                    records.append(_listed_record(row))
                except _BROKEN_ROW:
                    continue
            if len(rows) < count:
                break
            begin = rows[-1][0] + "\0"
        return records

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        text = self._fetch_text(sql.LIST_DUE, {"before": before, "limit": limit})
        return [Due(Space(space), key, float(wake)) for space, key, wake in json.loads(text)]

    # -- writing ------------------------------------------------------------------------------

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        try:
            return self._file.write(lambda connection: _apply(connection, changes))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            refusal: StorageError = StorageError(f"{changes[0].key!r} cannot be stored: {error}")
            refusal.__cause__ = error
        except CorruptRecordError as error:
            refusal = CorruptRecordError(changes[0].key, error.detail)
            refusal.__cause__ = error
        # One change of them cannot be written: find it, and write the others.
        if len(changes) == 1:
            return [Rejected(refusal)]
        return [outcome for change in changes for outcome in self._commit([change])]

    def _vacuum(self, before: float) -> int:
        return self._file.write(
            lambda connection: sum(
                connection.execute(sql.vacuum(space), (before,)).rowcount for space in Space
            )
        )

    def _close(self) -> None:
        self._file.close()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# -- one transaction ------------------------------------------------------------------------------


def _apply(connection: sqlite3.Connection, changes: Sequence[Change]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    records: dict[Space, list[tuple[Any, ...]]] = {}
    entries: list[tuple[Any, ...]] = []
    doomed: list[tuple[str, int]] = []
    stored = _stored(connection, changes)
    for change, current in zip(changes, stored, strict=True):
        if isinstance(current, CorruptRecordError):
            outcomes.append(Rejected(current))
            continue
        decision = plan(change, current)
        if not isinstance(decision, Write):
            outcomes.append(decision)
            continue
        outcomes.append(decision.outcome)
        record = decision.record
        records.setdefault(change.space, []).append(_row_of_record(record))
        if decision.drop_thread is not None:
            doomed.append((decision.drop_thread, _WHOLE_THREAD))
        if record.thread is not None:
            thread_id = record.thread.id
            entries.extend(_row_of_entry(thread_id, entry) for entry in decision.entries)
            if decision.trim_before is not None:
                doomed.append((thread_id, decision.trim_before))
    for space, rows in records.items():
        _insert(connection, lambda size, space=space: sql.upsert(space, size), rows)
    if entries:
        _insert(connection, sql.insert_entries, entries)
    if doomed:
        connection.execute(sql.DELETE_ENTRIES, (_json(doomed),))
    return outcomes


def _insert(
    connection: sqlite3.Connection,
    statement: Callable[[int], str],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    if len(rows) == 1:
        connection.execute(statement(1), rows[0])
        return
    for begin in range(0, len(rows), sql.MAX_ROWS):
        some = rows[begin : begin + sql.MAX_ROWS]
        size = sql.padded(len(some))
        parameters = list(chain.from_iterable(some))
        parameters += [None] * ((size - len(some)) * len(some[0]))
        connection.execute(statement(size), parameters)


def _stored(
    connection: sqlite3.Connection, changes: Sequence[Change]
) -> list[Record | CorruptRecordError | None]:
    """Return what ``plan`` needs to know of each change's record."""
    if len(changes) == 1:
        change = changes[0]
        row = connection.execute(sql.read_revision(change.space), (change.key,)).fetchone()
        return [None if row is None else _revision(change.key, *row)]
    stored: list[Record | CorruptRecordError | None] = [None] * len(changes)
    for space in Space:
        places = [i for i, change in enumerate(changes) if change.space is space]
        if places:
            keys = _json([changes[i].key for i in places])
            [blob] = connection.execute(sql.read_revisions(space), (keys,)).fetchone()
            for index, *row in json.loads(str(blob, "utf-8")):
                i = places[index]
                stored[i] = _revision(changes[i].key, *row)
    return stored


def _revision(
    key: str, rev: int, change_id: str, deleted: int, head: str | None
) -> Record | CorruptRecordError:
    try:
        return Record(
            key=key,
            rev=rev,
            change_id=change_id,
            updated_at=0.0,
            deleted=bool(deleted),
            thread=codec.decode_head(head, key),
        )
    except CorruptRecordError as error:
        return error


# -- rows -----------------------------------------------------------------------------------------


def _row_of_record(record: Record) -> tuple[Any, ...]:
    head = codec.encode_head(record.thread)
    return (
        record.key,
        record.rev,
        record.change_id,
        int(record.deleted),
        record.kind,
        record.version,
        record.wake_at,
        record.updated_at,
        head,
        codec.record_checksum(record, head),
        record.data,
    )


def _record_of_row(key: str, row: Sequence[Any]) -> Record:
    """Return the record of a row in the order of ``RECORD_COLUMNS``, if it is sound."""
    _, rev, change_id, deleted, kind, version, wake_at, updated_at, head, checksum, data = row
    try:
        record = Record(
            key=key,
            rev=rev,
            change_id=change_id,
            updated_at=updated_at,
            deleted=deleted == 1,
            kind=kind,
            version=version,
            data=data,
            thread=codec.decode_head(head, key),
            wake_at=wake_at,
        )
        sound = codec.record_checksum(record, head) == checksum
    except (ValueError, TypeError) as error:
        raise CorruptRecordError(key, f"undecodable row: {error}") from error
    if not sound:
        raise CorruptRecordError(key, "the checksum does not fit")
    return record


def _record_of_text(key: str, fields: Sequence[str]) -> Record:
    rev, change_id, deleted, kind, version, wake_at, updated_at, head, checksum, data = fields
    return _record_of_row(
        key,
        (
            key,
            int(rev),
            change_id,
            int(deleted),
            kind,
            int(version),
            _real(wake_at),
            _real(updated_at),
            head or None,
            int(checksum),
            data or None,
        ),
    )


def _listed_record(row: Sequence[Any]) -> Record:
    key, rev, change_id, _, kind, version, wake_at, updated_at, head = row
    record = Record(
        key=key,
        rev=rev,
        change_id=change_id,
        updated_at=float(updated_at),
        kind=kind,
        version=version,
        thread=codec.decode_head(head, key),
        wake_at=_real(wake_at),
    )
    f"{key}{kind}{head}".encode()  # broken text is a ValueError
    return record


def _real(quoted: str) -> float | None:
    return None if quoted == "NULL" else float(quoted)


def _row_of_entry(thread_id: str, entry: Entry) -> tuple[Any, ...]:
    document = codec.encode_entry(entry)
    checksum = codec.entry_checksum(thread_id, entry.seq, document)
    return thread_id, entry.seq, entry.kind, document, checksum


def _entry_of_text(thread_id: str, row: str) -> Entry:
    try:
        seq, checksum, document = row.split(sql.FIELD, 2)
        sound = codec.entry_checksum(thread_id, int(seq), document) == int(checksum)
    except ValueError as error:
        raise CorruptRecordError(thread_id, f"undecodable entry: {error}") from error
    if not sound:
        raise CorruptRecordError(thread_id, f"the checksum of entry {seq} does not fit")
    return codec.decode_entry(document, int(seq), thread_id)
