"""Find and open the backend that a URL names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torpor.storage.encoded import EncodedStorage
from torpor.storage.errors import ConfigurationError, MissingDriverError

if TYPE_CHECKING:
    from torpor.storage.base import Storage
    from torpor.storage.encoding import Codec

__all__ = ["open_storage"]

# scheme -> (module, class, extra that brings the driver)
_BACKENDS = {
    "memory": ("torpor.storage.memory", "MemoryStorage", None),
    "file": ("torpor.storage.file", "FileStorage", None),
    "sqlite": ("torpor.storage.sqlite", "SQLiteStorage", None),
    "sqlite+sqlalchemy": ("torpor.storage.sql", "SQLStorage", "sqlalchemy"),
    "postgresql": ("torpor.storage.sql", "SQLStorage", "postgres"),
    "mysql": ("torpor.storage.sql", "SQLStorage", "mysql"),
    "mariadb": ("torpor.storage.sql", "SQLStorage", "mysql"),
    "mongodb": ("torpor.storage.mongodb", "MongoDBStorage", "mongodb"),
    "mongodb+srv": ("torpor.storage.mongodb", "MongoDBStorage", "mongodb"),
    "dynamodb": ("torpor.storage.dynamodb", "DynamoDBStorage", "dynamodb"),
    "redis": ("torpor.storage.redis", "RedisStorage", "redis"),
    "rediss": ("torpor.storage.redis", "RedisStorage", "redis"),
    "unix": ("torpor.storage.redis", "RedisStorage", "redis"),
    "valkey": ("torpor.storage.redis", "RedisStorage", "redis"),
    "valkeys": ("torpor.storage.redis", "RedisStorage", "redis"),
}


def open_storage(url: str, *, codec: Codec | None = None, **options: Any) -> Storage:
    """Open the storage at ``url``; whoever calls this closes it.

    ``memory:``, ``file:///dir``, ``sqlite:///path`` (three slashes: relative to the current
    folder, four: absolute), ``postgresql://user@host/database``, ``mysql://…``, ``mariadb://…``,
    ``sqlite+sqlalchemy:///path``, ``redis://host/0``, ``rediss://…``, ``unix:///path/of/redis``,
    ``valkey://…``, ``dynamodb://table?region=…``. ``codec`` compresses or encrypts what is
    stored; see ``torpor.storage.encoding``. ``options`` are the class's keyword arguments. Raises
    ``ConfigurationError`` for a URL that no backend knows, ``MissingDriverError`` if the
    backend's package is not installed, and ``StorageError`` if it cannot be opened.
    """
    scheme = url.partition(":")[0].lower()
    if ":" not in url or scheme not in _BACKENDS:
        known = ", ".join(f"{scheme}:" for scheme in sorted(_BACKENDS))
        msg = f"no storage for {url.partition('//')[0]!r}; a URL begins with one of: {known}"
        raise ConfigurationError(msg)
    module, name, extra = _BACKENDS[scheme]
    try:
        backend = getattr(import_module(module), name)
    except ImportError as error:
        cure = f": pip install 'torpor[{extra}]'" if extra else f" that is not here: {error}"
        msg = f"{scheme} storage needs a driver{cure}"
        raise MissingDriverError(msg) from error
    storage: Storage = backend.from_url(url, **options)
    return storage if codec is None else EncodedStorage(storage, codec, owned=True)
