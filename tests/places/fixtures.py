"""Fixtures that give a test an empty place; a ``conftest.py`` imports those that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.places.registry import PLACES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["all_places", "empty_place", "url"]


@pytest.fixture(scope="session")
def all_places() -> Iterator[None]:
    """End all places when the process has run its tests."""
    yield
    for place in PLACES.values():
        place.close()


@pytest.fixture
def empty_place(
    all_places: None,  # noqa: ARG001 - which it makes use of
    tmp_path: Path,
) -> Callable[[str], str]:
    """Return what gives the URL of an empty store of the backend with a name."""
    return lambda name: PLACES[name].empty(tmp_path)


@pytest.fixture
def url(request: pytest.FixtureRequest, empty_place: Callable[[str], str]) -> str:
    """Return the URL of an empty store of the backend that is the (indirect) parameter."""
    return empty_place(request.param)
