"""Authenticated encryption of documents; needs the extra ``encryption``.

AES-256-GCM-SIV (RFC 8452) with a random nonce for each document. It bears a nonce that repeats
by chance, so a key need not be changed after so and so many documents.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from typing import TYPE_CHECKING, ClassVar

from torpor.storage.errors import ConfigurationError, DecryptionError, MissingDriverError

if TYPE_CHECKING:
    from collections.abc import Mapping

try:
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
except ImportError as error:
    msg = "encryption needs a package: pip install 'torpor[encryption]'"
    raise MissingDriverError(msg) from error

__all__ = ["Encryption"]

_KEY_BYTES = 32
_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Encryption:
    """Encrypts with one key, decrypts with any of several.

    Args:
        keys: id -> secret: 32 random bytes, or as many in base64 (``Encryption.new_key()``).
            Ids are stored in plain text: letters, digits, ``.``, ``_`` and ``-``.
        current: id of the key that writes; may be left out if there is one only.

    To rotate: add a new key and name it ``current``; remove the old one when nothing is encrypted
    with it any more (``torpor export`` and ``import`` rewrite everything).

    A document is bound to its place, a record's key or an entry's thread and id: moved elsewhere
    it does not decrypt. Not hidden are keys, kinds, times, sizes and entries' kinds, and putting
    back an older document of the same place is not noticed. Safe for many threads.
    """

    name: ClassVar[str] = "aes-256-gcm-siv"

    def __init__(self, keys: Mapping[str, bytes | str], *, current: str | None = None) -> None:
        if not keys or (current is None and len(keys) > 1) or (current or "") not in {"", *keys}:
            msg = f"name the key that writes: current=…, one of {', '.join(keys) or 'no keys'}"
            raise ConfigurationError(msg)
        self.current = current or next(iter(keys))
        self._ciphers = {key_id: _cipher(key_id, secret) for key_id, secret in keys.items()}
        self.step = f"{self.name}:{self.current}"

    def __repr__(self) -> str:
        return f"Encryption(keys={sorted(self._ciphers)}, current={self.current!r})"

    @staticmethod
    def new_key() -> str:
        """Return a new random key in base64."""
        return base64.b64encode(os.urandom(_KEY_BYTES)).decode()

    def encrypt(self, data: bytes, bound: bytes) -> bytes:
        """Return ``data`` encrypted with the current key, and bound to ``bound``."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[self.current].encrypt(nonce, data, bound)

    def decrypt(self, data: bytes, bound: bytes, key_id: str, key: str) -> bytes:
        """Return what was encrypted with the key ``key_id``; else ``DecryptionError``."""
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            detail = f"it is encrypted with the key {key_id!r}, which is not among the keys"
            raise DecryptionError(key, detail)
        try:
            return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            detail = f"the secret of the key {key_id!r} is another one, or the bytes were changed"
            raise DecryptionError(key, detail) from error


def _cipher(key_id: str, secret: bytes | str) -> AESGCMSIV:
    # No message may hold the secret, and no error of another library that does may be a cause.
    if not _KEY_ID.fullmatch(key_id):
        msg = f"a key's id is up to 64 letters, digits, dots, _ and -, not {key_id!r}"
        raise ConfigurationError(msg)
    try:
        raw = base64.b64decode(secret, validate=True) if isinstance(secret, str) else secret
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        msg = f"the key {key_id!r} is not {_KEY_BYTES} bytes, or as many in base64"
        raise ConfigurationError(msg)
    try:
        return AESGCMSIV(raw)
    except UnsupportedAlgorithm:
        msg = "encryption needs OpenSSL 3.2; the wheels of the package cryptography carry it"
        raise ConfigurationError(msg) from None
