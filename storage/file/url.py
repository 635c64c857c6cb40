"""The URL of a file store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from torpor.storage.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["parse_url", "require_options"]

_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


def parse_url(url: str) -> tuple[str, dict[str, Any]]:
    """Return the folder and the options that ``url`` names, else raise ``ConfigurationError``."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        msg = (
            f"{url!r} names the host {parts.netloc!r}: write file:///absolute/folder, "
            "or file:relative/folder"
        )
        raise ConfigurationError(msg)
    if parts.fragment:
        msg = f"{url!r} has a fragment: write %23 for # in a folder's name"
        raise ConfigurationError(msg)
    try:
        path = unquote(parts.path, errors="strict")
    except UnicodeDecodeError as error:
        msg = f"{url!r} is not UTF-8 when decoded"
        raise ConfigurationError(msg) from error
    if not path.strip("/") or "\0" in path:
        msg = f"{url!r} names no folder: write file:///absolute/folder"
        raise ConfigurationError(msg)
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    return path, dict(
        _option(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )


def require_options(names: Iterable[str]) -> None:
    """Raise ``ConfigurationError`` unless all are names of options."""
    for name in names:
        if name not in {"fsync", "timeout"}:
            msg = f"file storage has no option {name!r}: fsync and timeout are all"
            raise ConfigurationError(msg)


def _option(name: str, value: str) -> tuple[str, Any]:
    require_options([name])
    try:
        if name == "fsync":
            return name, _SWITCH[value.lower()]
        return name, float(value)
    except (KeyError, ValueError):
        msg = f"not a value of the file storage option {name}: {value!r}"
        raise ConfigurationError(msg) from None
