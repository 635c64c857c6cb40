"""One front door to every backend."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from torpor.storage import open_storage
from torpor.storage.errors import ConfigurationError, MissingDriverError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

URLS: dict[str, Callable[[Path], str]] = {
    "memory": lambda _: "memory:",
    "sqlite": lambda folder: f"sqlite:///{folder}/store.db",
    "file": lambda folder: f"file://{folder}/store",
}


@pytest.mark.parametrize("scheme", URLS)
def test_url_opens_its_backend(scheme: str, tmp_path: Path) -> None:
    """The scheme names the backend, which works (CP-1, CP-10)."""
    with open_storage(URLS[scheme](tmp_path)) as storage:
        storage.put_checkpoint("agent", 1)

        assert storage.name == scheme
        assert storage.durable is (scheme != "memory")
        found = storage.get_checkpoint("agent")
        assert found is not None
        assert found.value == 1


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_same_url_is_the_same_place(scheme: str, tmp_path: Path) -> None:
    """What is saved under a URL is there when it is opened again (rule 3)."""
    with open_storage(URLS[scheme](tmp_path)) as storage:
        storage.put_checkpoint("agent", 1)

    with open_storage(URLS[scheme](tmp_path)) as storage:
        assert storage.get_checkpoint("agent") is not None


@pytest.mark.parametrize("scheme", URLS)
def test_places_are_apart(scheme: str, tmp_path: Path) -> None:
    """Equal keys in two places know nothing of each other (CP-8)."""
    for name in "ab":
        (tmp_path / name).mkdir()
    with (
        open_storage(URLS[scheme](tmp_path / "a")) as a,
        open_storage(URLS[scheme](tmp_path / "b")) as b,
    ):
        a.put_checkpoint("agent", "a", expected_rev=0)
        a.append_thread("log", {})

        assert b.get_checkpoint("agent") is None
        assert b.load_thread("log") is None
        assert b.put_checkpoint("agent", "b", expected_rev=0) == 1


def test_scheme_may_have_any_case() -> None:
    """Schemes are not case-sensitive (RFC 3986, 3.1)."""
    with open_storage("MEMORY:") as storage:
        assert storage.name == "memory"


@pytest.mark.parametrize(
    "url",
    ["", "counters.db", "/srv/counters.db", "mem:", "oracle://x/y", "http://[::1", ":", "memory"],
)
def test_other_urls_are_refused(url: str) -> None:
    """What no backend knows is refused, with what there is (CP-10)."""
    with pytest.raises(
        ConfigurationError, match=r"begins with one of: .*file:, .*memory:, .*sqlite:"
    ):
        open_storage(url)


def test_secrets_of_a_url_are_not_told() -> None:
    """The error for an unknown scheme does not repeat what may be a password."""
    with pytest.raises(ConfigurationError) as caught:
        open_storage("oracle://scott:tiger@host/db")

    assert "tiger" not in str(caught.value)


def test_options_reach_the_backend(tmp_path: Path) -> None:
    """Keyword arguments are the backend's own (CP-10)."""
    with open_storage(URLS["sqlite"](tmp_path), busy_timeout=1.5) as storage:
        quick = storage.timeout
    with open_storage(URLS["sqlite"](tmp_path), busy_timeout=3.0) as storage:
        assert storage.timeout > quick


def test_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend whose driver is not installed is named with what to install."""
    monkeypatch.setitem(sys.modules, "torpor.storage.sqlite", None)

    with pytest.raises(MissingDriverError, match="sqlite storage needs a driver") as caught:
        open_storage("sqlite:///store.db")

    assert isinstance(caught.value.__cause__, ImportError)
    assert "None" not in str(caught.value).split(":")[0]


def test_extra_of_a_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an extra brings the driver, the error says how to install it."""
    monkeypatch.setattr(
        "torpor.storage.urls._BACKENDS", {"redis": ("torpor.storage.absent", "Redis", "redis")}
    )

    with pytest.raises(MissingDriverError, match=r"pip install 'torpor\[redis\]'"):
        open_storage("redis://localhost")
