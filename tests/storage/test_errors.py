"""One tree of errors, as it is drawn, and every error of it is exported."""

from __future__ import annotations

import inspect
import re

import pykka
import pytest

import torpor
from torpor.storage import errors
from torpor.storage.errors import (
    CallTimeoutError,
    ConflictError,
    RecordTooLargeError,
    SchemaVersionError,
    StopError,
    TorporError,
)

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, TorporError) and not name.startswith("_")
}


def _drawn_tree() -> dict[str, str]:
    """Return each error of the drawing with the one above it."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"(?P<indent>[│├└─ ]*)(?P<name>\w+Error)\b", line):
            depth = len(match["indent"]) // 4
            path[depth:] = [match["name"]]
            if depth:
                parents[match["name"]] = path[depth - 1]
    return parents


def _public_parent(error: type[TorporError]) -> str:
    """Return the nearest base with a public name."""
    return next(
        base.__name__
        for base in error.__mro__[1:]
        if issubclass(base, TorporError) and not base.__name__.startswith("_")
    )


def test_drawing_is_the_tree() -> None:
    """The tree at the top of the module is that of its classes."""
    classes = {
        name: _public_parent(error) for name, error in CLASSES.items() if error is not TorporError
    }

    assert _drawn_tree() == classes


def test_module_exports_every_error() -> None:
    """All of them are in ``__all__``, with the type of an outcome."""
    assert set(errors.__all__) == CLASSES.keys() | {"CallOutcome"}


def test_package_exports_every_error() -> None:
    """``torpor`` exports each error as what it is."""
    exported = {name: getattr(torpor, name) for name in torpor.__all__ if name in CLASSES}

    assert exported == CLASSES


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_error_says_when_and_what_to_do(name: str) -> None:
    """Names end in Error, and each has a docstring of its own."""
    assert name.endswith("Error")
    assert "__doc__" in vars(CLASSES[name])
    assert CLASSES[name].__doc__


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("AgentDefinitionError", TypeError),
        ("CallTimeoutError", TimeoutError),
        ("CallTimeoutError", pykka.Timeout),
        ("InvalidArgumentsError", TypeError),
        ("InvalidKeyError", ValueError),
        ("MissingDriverError", ImportError),
        ("UnserializableError", TypeError),
    ],
)
def test_error_is_also_the_usual_one(name: str, builtin: type[Exception]) -> None:
    """Who catches Python's or pykka's own error for such a case catches this one."""
    assert issubclass(CLASSES[name], builtin)


def test_facts_are_attributes() -> None:
    """What an error knows can be read without parsing its message."""
    conflict = ConflictError("agent", expected=1, found=3)
    too_large = RecordTooLargeError("agent", size=20, limit=10)
    newer = SchemaVersionError("store.db", found=3, supported=1)
    timeout = CallTimeoutError("counter/a", "no reply", "not_run")
    stop = StopError(unsaved={"counter/a": conflict}, stuck=["counter/b"])

    assert (conflict.key, conflict.expected, conflict.found) == ("agent", 1, 3)
    assert conflict.outcome == "not_applied"
    assert (too_large.key, too_large.size, too_large.limit) == ("agent", 20, 10)
    assert (newer.place, newer.found, newer.supported) == ("store.db", 3, 1)
    assert (timeout.agent, timeout.outcome) == ("counter/a", "not_run")
    assert (stop.unsaved, stop.stuck) == ({"counter/a": conflict}, ("counter/b",))


def test_message_tells_the_facts() -> None:
    """A log line alone says which key and which revisions."""
    assert str(ConflictError("agent", expected=1, found=3, outcome="unknown")) == (
        "'agent': expected revision 1, found 3 (unknown)"
    )
    assert str(RecordTooLargeError("agent", size=20, limit=10)) == (
        "'agent': 20 bytes; this storage takes 10"
    )
