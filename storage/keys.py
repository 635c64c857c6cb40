"""Which text a storage takes as a key."""

from __future__ import annotations

from torpor.storage.errors import InvalidKeyError

__all__ = ["MAX_KEY_BYTES", "OWNED_ID_BYTES", "validate_key"]

MAX_KEY_BYTES = 512
OWNED_ID_BYTES = 64  # room for "#" and the unique id behind an agent's key


def validate_key(key: str, limit: int = MAX_KEY_BYTES) -> str:
    """Return ``key`` if a storage takes it, else raise ``InvalidKeyError``."""
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        msg = f"a key is text, not {type(key).__name__}"
        raise InvalidKeyError(msg)
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        msg = f"the key {key!r} has no UTF-8 form: {error.reason}"
        raise InvalidKeyError(msg) from error
    if not 0 < size <= limit:
        msg = f"a key has 1 to {limit} bytes of UTF-8; this one has {size}: {key[:40]!r}"
        raise InvalidKeyError(msg)
    if "\0" in key:
        msg = f"a key has no NUL character: {key!r}"
        raise InvalidKeyError(msg)
    return key
