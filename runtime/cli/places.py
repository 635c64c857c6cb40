"""Which storage a command works on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from torpor.home import default_url
from torpor.storage import open_storage
from torpor.storage.errors import ConfigurationError, StorageError

if TYPE_CHECKING:
    from torpor.storage import Storage

__all__ = ["named", "open_existing", "open_new", "url_and_rest"]

_URL = re.compile(r"[a-z][a-z0-9+.-]*:(//.*)?", re.DOTALL)
_MADE_BY_SQL = {"postgresql", "mysql", "mariadb", "sqlite+sqlalchemy"}


def url_and_rest(first: str | None, second: str | None) -> tuple[str, str | None]:
    """Return the URL and the other of two arguments, of which the URL may be left out.

    It is then that of ``TORPOR_STORAGE``, else that of a runtime without a storage.
    """
    if second is not None and first is not None:
        return first, second
    if first is not None and _URL.fullmatch(first):
        return first, None
    return os.environ.get("TORPOR_STORAGE") or default_url(), first


def named(first: str, second: str | None, what: str) -> tuple[str, str]:
    """Return the URL and the other argument, which must be there."""
    url, rest = url_and_rest(first, second)
    if rest is None:
        msg = f"missing argument {what}"
        raise ConfigurationError(msg)
    return url, rest


def open_new(url: str) -> Storage:
    """Open a storage; make it if it is not there."""
    return open_storage(url)


def open_existing(url: str) -> Storage:
    """Open a storage that must be there: to look for one must not make it."""
    scheme, _, rest = url.partition(":")
    if scheme in _MADE_BY_SQL:
        return open_storage(url, create=False)
    if scheme in {"file", "sqlite"}:
        path = unquote(rest.partition("?")[0])
        place = Path(path.removeprefix("///" if scheme == "sqlite" else "//"))
        if not place.exists():
            msg = f"there is no storage at {place}"
            raise StorageError(msg)
    return open_storage(url)
