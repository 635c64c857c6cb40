"""Find and open the backend that a URL names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from torpor.storage.errors import ConfigurationError, MissingDriverError

if TYPE_CHECKING:
    from torpor.storage.base import Storage

__all__ = ["open_storage"]

# scheme -> (module, class, extra that brings the driver)
_BACKENDS = {
    "memory": ("torpor.storage.memory", "MemoryStorage", None),
    "file": ("torpor.storage.file", "FileStorage", None),
    "sqlite": ("torpor.storage.sqlite", "SQLiteStorage", None),
}


def open_storage(url: str, **options: Any) -> Storage:
    """Open the storage at ``url``; whoever calls this closes it.

    ``memory:``, ``file:///dir``, ``sqlite:///path`` (three slashes: relative to the current
    folder, four: absolute). ``options`` are keyword arguments of the backend's class. Raises
    ``ConfigurationError`` for a URL that no backend knows, ``MissingDriverError`` if the
    backend's package is not installed, and ``StorageError`` if it cannot be opened.
    """
    scheme = urlsplit(url).scheme
    try:
        module, name, extra = _BACKENDS[scheme]
    except KeyError:
        known = ", ".join(sorted(_BACKENDS))
        msg = f"no storage for {scheme or 'this'!r} URLs; use one of: {known}"
        raise ConfigurationError(msg) from None
    try:
        backend = getattr(import_module(module), name)
    except ImportError as error:
        msg = f"{scheme} storage needs a driver: pip install 'torpor[{extra}]'"
        raise MissingDriverError(msg) from error
    storage: Storage = backend.from_url(url, **options)
    return storage
