"""The URL of a MongoDB store: which options in it are Torpor's, and what may be shown of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from torpor.storage.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["place_of", "split_url"]

_SWITCH = {"true": True, "1": True, "false": False, "0": False}
_OPTIONS: dict[str, Callable[[str], Any]] = {
    "collection_prefix": str,
    "timeout": float,
    "create": lambda value: _SWITCH[value.lower()],
    "queryable": lambda value: _SWITCH[value.lower()],
}


def split_url(url: str) -> tuple[str, dict[str, Any]]:
    """Return the URL without Torpor's options, and these; ``ConfigurationError`` if one is bad."""
    parts = urlsplit(url)
    ours: dict[str, Any] = {}
    theirs: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS:
            theirs.append((name, value))
            continue
        try:
            ours[name] = _OPTIONS[name](value)
        except (ValueError, KeyError):
            msg = f"not a value of the MongoDB storage option {name}: {value!r}"
            raise ConfigurationError(msg) from None
    if not ours:
        return url, ours
    return urlunsplit(parts._replace(query=urlencode(theirs))), ours


def place_of(url: str) -> str:
    """Return the servers that a sound URL names, without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
