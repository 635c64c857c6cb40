"""Places that need nothing but a folder, or not even that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.places.base import Place

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FilePlace", "MemoryPlace"]


class MemoryPlace(Place):
    """Memory: each storage has its own, so the same URL is another place each time."""

    shared = False

    def empty(self, folder: Path) -> str:  # noqa: ARG002 - it needs none
        """Return the URL of a new one."""
        return "memory:"


class FilePlace(Place):
    """A file or folder called ``store``, which ``scheme`` makes when it is opened."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    def empty(self, folder: Path) -> str:
        """Return the URL of the one in ``folder``."""
        return f"{self._scheme}:///{folder}/store"
