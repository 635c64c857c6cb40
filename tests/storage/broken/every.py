"""All broken storages, whatever rule they break."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.storage.broken import commits, places, records, restoring, threads, wake_ups

if TYPE_CHECKING:
    from tests.storage.broken.kit import Broken

__all__ = ["broken_storages"]


_ROOMS = (commits, records, threads, places, wake_ups, restoring)


def broken_storages() -> list[type[Broken]]:
    """Return every storage that breaks a rule."""
    return [getattr(room, name) for room in _ROOMS for name in room.__all__]
