"""Backups of a SQLite or file storage while it is in use, and how long they are kept.

A backup is named ``torpor-<time, UTC>``: a SQLite file with ``.db``, a folder for file storage.
Beside it stands ``torpor-<time>.backup.json``, which says what it is a backup of and when it was
made. Only what has such a file beside it, of the same source, is ever removed.

To restore, stop what uses the storage and put a copy of the backup in its place, or open the
backup by its own URL.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from torpor.storage import codec
from torpor.storage.check import check
from torpor.storage.errors import ConfigurationError, CorruptRecordError
from torpor.storage.file.io import DurableFiles, translated_errors
from torpor.storage.file.storage import FileStorage
from torpor.storage.records import new_id
from torpor.storage.sqlite.storage import SQLiteStorage

if TYPE_CHECKING:
    from pathlib import Path

    from torpor.storage.base import Storage

__all__ = ["Backup", "Keep", "back_up"]

_FORMAT = "torpor backup"
_NOTE = ".backup.json"
_KEEP = re.compile(r"(\d{1,9})([hdw]?)")
_SECONDS = {"h": 3600.0, "d": 86400.0, "w": 604800.0}


@dataclass(frozen=True, slots=True)
class Keep:
    """Which backups are kept: the newest ``count``, or those of the last ``seconds``."""

    count: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Keep:
        """Return the meaning of ``"10"`` (backups), ``"12h"``, ``"30d"`` or ``"8w"``."""
        match = _KEEP.fullmatch(text.strip())
        if match is None or int(match[1]) == 0:
            msg = f"to keep 10 backups say 10, of the last month 30d; not {text!r}"
            raise ConfigurationError(msg)
        if not match[2]:
            return cls(count=int(match[1]))
        return cls(seconds=int(match[1]) * _SECONDS[match[2]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was made: its file or folder, its bytes, and which older ones were removed."""

    path: Path
    made_at: float
    size: int
    removed: tuple[Path, ...]


def back_up(storage: Storage, folder: Path, *, keep: Keep | None = None) -> Backup:
    """Copy ``storage`` into ``folder``, check the copy, then remove what ``keep`` does not cover.

    Others may read and write meanwhile. The copy has its name only when it is whole, sound and
    on the disk. Without ``keep`` nothing is removed. Raises ``ConfigurationError`` for a storage
    of another kind, ``CorruptRecordError`` if the copy is damaged, because the storage is:
    see ``torpor.storage.check``. Whatever is raised, no backup is made and none removed.
    """
    if not isinstance(storage, SQLiteStorage | FileStorage):
        msg = f"{storage.name} storage has backups of its own; or write an export"
        raise ConfigurationError(msg)
    with translated_errors():
        folder.mkdir(parents=True, exist_ok=True)
        made_at = time.time()
        suffix = ".db" if isinstance(storage, SQLiteStorage) else ""
        name = _free_name(folder, made_at)
        target = folder / f"{name}{suffix}"
        partial = folder / f".{name}.{new_id()}.partial"
        try:
            _copy(storage, partial)
            _require_sound(partial, suffix)
            partial.rename(target)
        except BaseException:
            _remove(partial)
            raise
        size = _size(target)
        note = _Note(source=str(storage.path), made_at=made_at, size=size)
        note.write(folder, name)
        removed = _remove_old(folder, name, note, keep) if keep is not None else ()
    return Backup(path=target, made_at=made_at, size=size, removed=removed)


def _free_name(folder: Path, made_at: float) -> str:
    stamp = datetime.fromtimestamp(made_at, UTC).strftime("%Y%m%dT%H%M%SZ")
    taken = {path.name.partition(".")[0] for path in folder.iterdir()}
    names = (f"torpor-{stamp}", *(f"torpor-{stamp}-{number}" for number in range(2, 1000)))
    return next(name for name in names if name not in taken)


def _copy(storage: SQLiteStorage | FileStorage, partial: Path) -> None:
    if isinstance(storage, FileStorage):
        storage.copy_to(partial)
        return
    try:
        # In one step: a copy in several begins again whenever another process has written.
        with (
            closing(sqlite3.connect(f"{storage.path.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(partial)) as target,
        ):
            source.backup(target)
    except sqlite3.DatabaseError as error:
        raise CorruptRecordError(str(storage.path), str(error)) from error
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_sound(partial: Path, suffix: str) -> None:
    copy: Storage = SQLiteStorage(partial) if suffix else FileStorage(partial)
    with copy:
        finding = next(check(copy), None)
    if finding is not None:
        detail = f"damaged, no backup was made: {finding.problem}: {finding.detail}"
        raise CorruptRecordError(finding.where, detail)


def _remove_old(folder: Path, name: str, made: _Note, keep: Keep) -> tuple[Path, ...]:
    """Remove backups of the same source, never the one just made, whatever others say of theirs."""
    others = sorted(
        (
            (note, path)
            for note, path in _notes(folder)
            if note.source == made.source and path.name != f"{name}{_NOTE}"
        ),
        key=lambda each: (each[0].made_at, each[1].name),
        reverse=True,
    )
    removed: list[Path] = []
    for rank, (note, path) in enumerate(others, start=1):
        too_many = keep.count is not None and rank >= keep.count
        too_old = keep.seconds is not None and note.made_at < made.made_at - keep.seconds
        data = note.data(path)
        if (too_many or too_old) and data is not None:
            _remove(data)
            path.unlink(missing_ok=True)
            removed.append(data)
    return tuple(removed)


@dataclass(frozen=True, slots=True)
class _Note:
    """What stands beside a backup."""

    source: str
    made_at: float
    size: int

    def write(self, folder: Path, name: str) -> None:
        document = {
            "format": _FORMAT,
            "version": 1,
            "source": self.source,
            "made_at": self.made_at,
            "size": self.size,
        }
        files = DurableFiles(folder, fsync=True)
        files.publish({folder / f"{name}{_NOTE}": json.dumps(document, indent=2).encode() + b"\n"})

    def data(self, path: Path) -> Path | None:
        """Return the backup beside the note at ``path``; None if it is no longer what was made."""
        name = path.name.removesuffix(_NOTE)
        for data in (path.with_name(f"{name}.db"), path.with_name(name)):
            if data.exists() and not data.is_symlink() and _size(data) == self.size:
                return data
        return None


def _notes(folder: Path) -> list[tuple[_Note, Path]]:
    found: list[tuple[_Note, Path]] = []
    for path in folder.glob(f"torpor-*{_NOTE}"):
        with suppress(OSError, *codec.UNDECODABLE):
            document: dict[str, Any] = codec.loads(path.read_text("utf-8"))
            if document["format"] == _FORMAT and document["version"] == 1:
                note = _Note(
                    str(document["source"]), float(document["made_at"]), int(document["size"])
                )
                if math.isfinite(note.made_at):
                    found.append((note, path))
    return found


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size


def _remove(path: Path) -> None:
    """Remove a backup or what there is of one."""
    if path.is_dir():
        shutil.rmtree(path)
        return
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        each.unlink(missing_ok=True)
