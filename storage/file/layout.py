"""Where everything lies in a file store's folder, and whether the folder is such a store.

::

    store.json                      format name and version
    checkpoints/<hash>.json         a checkpoint, or its tombstone
    threads/<hash>/meta.json        a standalone thread's head, or whose an owned thread is
    threads/<hash>/entries.jsonl    a thread's entries
    due/<time>.<space>.<hash>       empty: when to look at a record
    locks/<first digit of hash>     held by who writes
    tmp/                            files on their way to their places

``<hash>`` is the SHA-256 of a key's UTF-8 in lower-case hexadecimal: any key gives a legal name,
and no two names differ by letter case alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from torpor.storage import codec
from torpor.storage.errors import ConfigurationError, SchemaVersionError, StorageUnavailableError
from torpor.storage.file.io import PARTIAL_SUFFIX, names_in
from torpor.storage.records import Space

if TYPE_CHECKING:
    from pathlib import Path

    from torpor.storage.file.io import DurableFiles

__all__ = ["FORMAT_VERSION", "STRIPES", "Layout", "hash_of", "stripe_of"]

FORMAT_VERSION = 1
STRIPES: Final = "0123456789abcdef"

_FORMAT = "torpor file store"
_HASH = re.compile("[0-9a-f]{64}")


def hash_of(key: str) -> str:
    """Return the name that ``key`` has in the store."""
    return hashlib.sha256(key.encode()).hexdigest()


def stripe_of(name: str) -> str:
    """Return the name of the lock under which what is named by this hash is written."""
    return name[0]


class Layout:
    """The places in the store at ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoints = root / "checkpoints"
        self.threads = root / "threads"
        self.due = root / "due"
        self.locks = root / "locks"
        self.workshop = root / "tmp"
        self._store_file = root / "store.json"

    def record(self, space: Space, name: str) -> Path:
        """Return the place of a record document."""
        if space is Space.CHECKPOINTS:
            return self.checkpoints / f"{name}.json"
        return self.threads / name / "meta.json"

    def names(self, space: Space) -> list[str]:
        """Return the hashes of all records that may exist, in no order."""
        if space is Space.CHECKPOINTS:
            names = [name.removesuffix(".json") for name in names_in(self.checkpoints)]
        else:
            names = names_in(self.threads)
        return [name for name in names if _HASH.fullmatch(name)]

    def log(self, thread_name: str) -> Path:
        """Return the place of a thread's entries."""
        return self.threads / thread_name / "entries.jsonl"

    def require_store(self) -> None:
        """Raise unless the store is still there.

        Called before anything is said to be missing: an unmounted disk must not look like a
        store without records.
        """
        try:
            self._store_file.stat()
        except FileNotFoundError as error:
            msg = f"the store is gone: no {self._store_file}"
            raise StorageUnavailableError(msg) from error

    def prepare(self, files: DurableFiles) -> None:
        """Make a new store, or check that this Torpor can use the one that is there.

        Raises ``SchemaVersionError`` for a newer store and ``ConfigurationError`` for a folder
        that holds anything else; neither is touched. Several processes may do this at once.
        """
        if self.root.exists() and not self.root.is_dir():
            msg = f"{self.root} is not a folder"
            raise ConfigurationError(msg)
        if self._store_file.exists() or self._holds_something_else():
            self._check_version()
        else:
            self.workshop.mkdir(parents=True, exist_ok=True)
            document = {"format": _FORMAT, "version": FORMAT_VERSION}
            files.publish({self._store_file: json.dumps(document, indent=2).encode() + b"\n"})
            files.sync([self.root.parent])
        folders = (self.checkpoints, self.threads, self.due, self.locks, self.workshop)
        missing = [folder for folder in folders if not folder.is_dir()]
        for folder in missing:
            folder.mkdir(exist_ok=True)
        if missing:
            files.sync([self.root])

    def _holds_something_else(self) -> bool:
        if not self.root.exists():
            return False
        names = set(names_in(self.root))
        if self.workshop.is_dir() and all(
            name.endswith(PARTIAL_SUFFIX) for name in names_in(self.workshop)
        ):
            names.discard("tmp")  # another process is making this store, or died doing so
        return bool(names)

    def _check_version(self) -> None:
        try:
            document: Any = codec.loads(self._store_file.read_text(encoding="utf-8"))
            format_name, version = document["format"], document["version"]
        except FileNotFoundError:
            msg = f"{self.root} is not empty and holds no {_FORMAT}: name another folder"
            raise ConfigurationError(msg) from None
        except codec.UNDECODABLE as error:
            msg = f"{self._store_file} is unreadable: {error}"
            raise ConfigurationError(msg) from error
        if format_name != _FORMAT or type(version) is not int:
            msg = f"{self.root} holds a {format_name!r} of version {version!r}, not a {_FORMAT}"
            raise ConfigurationError(msg)
        if version > FORMAT_VERSION:
            raise SchemaVersionError(str(self.root), found=version, supported=FORMAT_VERSION)
