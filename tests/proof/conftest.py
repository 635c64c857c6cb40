"""Empty places of every backend."""

from __future__ import annotations

from tests.places.fixtures import all_places, empty_place, url

__all__ = ["all_places", "empty_place", "url"]
