"""A store of each kind, and runtimes on it whose time stands still."""

from __future__ import annotations

from tests.messages.conftest import all_places, clock, empty_place, memory, runtime, storage, watch

__all__ = ["all_places", "clock", "empty_place", "memory", "runtime", "storage", "watch"]
