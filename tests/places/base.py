"""Where a backend keeps what a test stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Place"]


class Place(ABC):
    """The one place of a backend in this test process; what tests left there it removes."""

    shared = True
    """Whether several storages on its URL, also in other processes, have the same content."""

    @abstractmethod
    def empty(self, folder: Path) -> str:
        """Return the URL of an empty store, for the test that ``folder`` belongs to.

        It lasts until the next call. Skips the test if the backend is not to be had here.
        """

    def close(self) -> None:  # noqa: B027 - most leave nothing behind
        """Remove what is left. Called when the process has run all its tests."""
