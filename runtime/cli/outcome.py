"""How a command ends: its exit code, and one line for what went wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from torpor.storage.errors import (
    ConfigurationError,
    ConflictError,
    InvalidKeyError,
    SchemaVersionError,
    TorporError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FAILURE", "FOUND", "OK", "PIPE", "USAGE", "describe", "redact", "say"]

OK = 0
FOUND = 1
"""Something was found that should not be, or not found that should be."""
USAGE = 2
FAILURE = 3
PIPE = 141
"""Whoever read the output had enough: as a shell tells it of other programs."""


def describe(error: Exception) -> tuple[str, int]:
    """Return what to say of an error, and the exit code."""
    message = str(error)
    if isinstance(error, ConflictError) and error.expected == 0:
        message = f"{error.key!r} is there already and differs: --overwrite replaces it"
    if isinstance(error, SchemaVersionError):
        return message, FAILURE
    if isinstance(error, ConfigurationError | InvalidKeyError):
        return message, USAGE
    if isinstance(error, TorporError | OSError):
        return message, FAILURE
    return f"{type(error).__name__}: {message}", FAILURE


def redact(text: str, words: Iterable[str]) -> str:
    """Return ``text`` without the passwords of those of ``words`` that are URLs."""
    for word in words:
        try:
            password = urlsplit(word).password
        except ValueError:
            continue
        for secret in {password or "", unquote(password or "")} - {""}:
            text = text.replace(secret, "***")
    return text


def say(message: str) -> None:
    """Write one line to the standard error."""
    sys.stderr.write(f"torpor: {' '.join(message.split())}\n")
