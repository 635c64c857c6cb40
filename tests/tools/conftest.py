"""Empty places for the tools to work on."""

from __future__ import annotations

from tests.places.fixtures import all_places, empty_place

__all__ = ["all_places", "empty_place"]
