"""Compression and encryption of stored documents, on top of their JSON.

An encoded document is JSON too: ``{"$codec":"zstd+aes-256-gcm-siv:2026","data":"<base64>"}``
names the steps in the order in which they were taken, with the id of the key. So plain,
compressed and encrypted documents may stand beside one another, and each is read by what it
says of itself: a codec can be changed, and keys rotated, while a store is in use.

Documents that begin with ``$codec`` are reserved: a storage refuses to save them otherwise, and
to show them without a codec that reads them.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, cast

from torpor.storage import codec
from torpor.storage.errors import CorruptRecordError, DecryptionError

if TYPE_CHECKING:
    from torpor.storage.compression import Zstd
    from torpor.storage.encryption import Encryption

__all__ = ["MARK", "NO_CODEC", "Codec", "is_encoded", "is_encoded_value"]

MARK = "$codec"
NO_CODEC = "it is compressed or encrypted: open the storage with the codec that reads it"
_BEGIN = f'{{"{MARK}":'


def is_encoded(text: str | None) -> bool:
    """Whether a document's JSON text is one that a codec made."""
    return text is not None and text.startswith(_BEGIN)


def is_encoded_value(value: object) -> bool:
    """Whether a decoded JSON value is one that a codec made."""
    return isinstance(value, dict) and MARK in value


class Codec:
    """How documents are stored: as JSON, compressed, encrypted, or compressed and encrypted.

    Args:
        compression: compresses documents above its size; None writes none compressed.
        encryption: encrypts every document; None writes plain text.
        accept_plain: with ``encryption``, whether a document in plain text may be read. False
            refuses it, so that nobody who can write to the store can pass one off; True is for
            the time in which a store that began in plain text is rewritten.

    Whatever is written compressed or encrypted is read, whichever is set here now, as long as
    its key is known. Immutable and safe for many threads.
    """

    def __init__(
        self,
        *,
        compression: Zstd | None = None,
        encryption: Encryption | None = None,
        accept_plain: bool = False,
    ) -> None:
        self.compression = compression
        self.encryption = encryption
        self.accept_plain = accept_plain or encryption is None

    def __repr__(self) -> str:
        return f"Codec(compression={self.compression!r}, encryption={self.encryption!r})"

    def encode(self, text: str, place: str) -> str:
        """Return the JSON text to store for ``text``, bound to ``place`` if it is encrypted."""
        data = text.encode()
        steps: list[str] = []
        if self.compression is not None:
            compressed = self.compression.compress(data)
            if compressed is not None:
                data = compressed
                steps.append(self.compression.name)
        if self.encryption is not None:
            steps.append(self.encryption.step)
            data = self.encryption.encrypt(data, _bound(place, steps))
        if not steps:
            return text
        return f'{_BEGIN}"{"+".join(steps)}","data":"{base64.b64encode(data).decode()}"}}'

    def decode(self, text: str, place: str, key: str) -> str:
        """Return what ``encode`` was given.

        Raises ``DecryptionError`` for a key that is unknown or wrong, for plain text that is not
        accepted, and for what was changed or moved to another place, ``CorruptRecordError`` for
        what cannot be read at all. Both name ``key``.
        """
        if not is_encoded(text):
            if not self.accept_plain:
                raise DecryptionError(key, "it is stored in plain text, which is not accepted")
            return text
        steps, data = _parse(text, key)
        names = [step.partition(":")[0] for step in steps]
        if (
            self.encryption is not None
            and self.encryption.name not in names
            and not self.accept_plain
        ):
            raise DecryptionError(key, "it is not encrypted, which is not accepted")
        for done, step in reversed(list(enumerate(steps, start=1))):
            data = self._undo(step, data, _bound(place, steps[:done]), key)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise CorruptRecordError(key, f"undecodable document: {error}") from error

    def _undo(self, step: str, data: bytes, bound: bytes, key: str) -> bytes:
        name, _, key_id = step.partition(":")
        if name == "zstd":
            # Also by a codec that compresses nothing: a setting must not make data unreadable.
            from torpor.storage.compression import decompress  # noqa: PLC0415 - needs a package

            return decompress(data, key)
        if self.encryption is None or name != self.encryption.name:
            detail = f"it is encoded by {step!r}, and no such encryption is configured"
            raise DecryptionError(key, detail)
        return self.encryption.decrypt(data, bound, key_id, key)


def _parse(text: str, key: str) -> tuple[list[str], bytes]:
    try:
        document: dict[str, Any] = codec.loads(text)
        steps = cast("str", document[MARK]).split("+")
        "".join(steps).encode()
        return steps, base64.b64decode(document["data"], validate=True)
    except codec.UNDECODABLE as error:
        raise CorruptRecordError(key, f"undecodable document: {error}") from error


def _bound(place: str, steps: list[str]) -> bytes:
    return "\n".join((place, *steps)).encode()
