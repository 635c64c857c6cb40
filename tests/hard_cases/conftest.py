"""Runtimes on storages that misbehave on demand, and places that processes can share."""

from __future__ import annotations

from tests.lifecycle.conftest import clock, memory, runtime, storage, ticking, watch
from tests.places.fixtures import all_places, empty_place, url

__all__ = [
    "all_places",
    "clock",
    "empty_place",
    "memory",
    "runtime",
    "storage",
    "ticking",
    "url",
    "watch",
]
