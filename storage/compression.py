"""Zstandard compression of documents; needs the extra ``zstd``."""

from __future__ import annotations

import threading
from typing import ClassVar

from torpor.storage.errors import ConfigurationError, CorruptRecordError, MissingDriverError

try:
    import zstandard
except ImportError as error:
    msg = "compression needs a package: pip install 'torpor[zstd]'"
    raise MissingDriverError(msg) from error

__all__ = ["MAX_BYTES", "Zstd", "decompress"]

MAX_BYTES = 256 * 1024**2
"""Largest document, in bytes, that is decompressed: a small forgery must not fill the memory."""


class Zstd:
    """Compresses documents of more than ``above`` bytes if that makes them smaller.

    ``level``: 1 (fast) to 22 (small). Stored as base64, so a document has to shrink by more than
    a quarter to take less room. Safe for many threads.
    """

    name: ClassVar[str] = "zstd"

    def __init__(self, *, above: int = 1024, level: int = 3) -> None:
        if not 1 <= level <= zstandard.MAX_COMPRESSION_LEVEL:
            msg = f"level is 1 to {zstandard.MAX_COMPRESSION_LEVEL}, not {level}"
            raise ConfigurationError(msg)
        if above < 0:
            msg = f"above is a number of bytes, not {above}"
            raise ConfigurationError(msg)
        self.above = above
        self.level = level
        self._local = threading.local()  # a compressor must not be shared between threads

    def __repr__(self) -> str:
        return f"Zstd(above={self.above}, level={self.level})"

    def compress(self, data: bytes) -> bytes | None:
        """Return ``data`` compressed, None if it is better left as it is."""
        if len(data) <= self.above:
            return None
        compressor: zstandard.ZstdCompressor | None = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = self._local.compressor = zstandard.ZstdCompressor(
                level=self.level, write_checksum=True
            )
        compressed = compressor.compress(data)
        return compressed if len(compressed) * 4 < len(data) * 3 else None


def decompress(data: bytes, key: str) -> bytes:
    """Return what was compressed; ``CorruptRecordError`` for ``key`` if that can't be."""
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= MAX_BYTES:
            raise CorruptRecordError(key, f"its compressed form claims a size of {size} bytes")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_BYTES)
    except zstandard.ZstdError as error:
        raise CorruptRecordError(key, f"it cannot be decompressed: {error}") from error
