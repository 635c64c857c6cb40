"""Places of servers, which are ended when the process has run its tests."""

from __future__ import annotations

from tests.places.fixtures import all_places

__all__ = ["all_places"]
