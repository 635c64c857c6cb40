"""Hypothesis strategies that damage bytes and JSON documents."""

from __future__ import annotations

import json
import math
from typing import Any, cast

from hypothesis import strategies as st

from tests.fuzz import canary

__all__ = [
    "ANYTHING",
    "NESTED",
    "SCALARS",
    "array_of",
    "changed",
    "junk",
    "mutated",
    "object_of",
    "text_of",
]

DEPTH = 100_000
_DEEP = "nested deeper than any reader can follow"
_TWICE = "a key that comes twice"

NUMBERS = (0, 1, -1, 7, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**70), 10**19, 10**400)
REALS = (0.5, -0.0, 5e-324, -1e18, 1e18, 1.7e308, math.inf, -math.inf, math.nan)
WORDS = ("", "x", "0", "1", "NULL", "\0", "\ud800", "é" * 300, "a/b", "../..", "#", "$torpor")

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from((None, True, False)),
    st.sampled_from(NUMBERS) | st.integers(),
    st.sampled_from(REALS) | st.floats(),
    st.sampled_from(WORDS) | st.sampled_from(canary.TEXTS) | st.text(max_size=8),
)
NESTED: st.SearchStrategy[Any] = st.sampled_from(
    ([], {}, [[]], {"a": 1}, [1, "x", None], {_TWICE: 1}, _DEEP)
)
ANYTHING: st.SearchStrategy[Any] = SCALARS | NESTED
"""Any JSON value, and some that JSON does not have; ``text_of`` writes it."""


def text_of(value: Any) -> str:
    """Return the JSON of a value of these strategies, with all that readers should refuse."""
    text = json.dumps(value, separators=(",", ":"))  # in ASCII: lone surrogates pass as escapes
    text = text.replace(f'"{_DEEP}"', "[" * DEPTH + "]" * DEPTH)
    return text.replace(f'"{_TWICE}":1', f'"{_TWICE}":1,"{_TWICE}":2')


def object_of(value: Any) -> dict[str, Any] | None:
    """Return a value that is a JSON object, None if it is none."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def array_of(value: Any) -> list[Any] | None:
    """Return a value that is a JSON array, None if it is none."""
    if not isinstance(value, list):
        return None
    return cast("list[Any]", value)  # type: ignore[redundant-cast] # pyright needs it


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to all parts of a JSON value, itself included."""
    pairs: list[tuple[Any, Any]] = [*enumerate(array_of(value) or ())]
    pairs += (object_of(value) or {}).items()
    return [place, *(way for key, part in pairs for way in _places(part, (*place, key)))]


def _put(value: Any, place: tuple[Any, ...], part: Any) -> Any:
    if not place:
        return part
    copied: Any = [*(array_of(value) or ())] if object_of(value) is None else {**value}
    copied[place[0]] = _put(copied[place[0]], place[1:], part)
    return copied


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """Return a JSON value with one part replaced, removed, added, or exchanged for another."""
    place = draw(st.sampled_from(_places(value)))
    kind = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add", "exchange")))
    found = _at(value, place)
    if kind == "exchange":
        return _put(value, place, _at(value, draw(st.sampled_from(_places(value)))))
    if kind == "remove" and place:
        whole = _at(value, place[:-1])
        less: Any = [part for key, part in enumerate(array_of(whole) or ()) if key != place[-1]]
        if (pairs := object_of(whole)) is not None:
            less = {key: part for key, part in pairs.items() if key != place[-1]}
        return _put(value, place[:-1], less)
    if kind == "add" and (pairs := object_of(found)) is not None:
        name = draw(st.sampled_from(("unknown", "owner", "value", "seq", *pairs)) | st.text())
        return _put(value, place, {**pairs, name: draw(ANYTHING)})
    if kind == "add" and (parts := array_of(found)) is not None:
        return _put(value, place, [*parts, draw(ANYTHING)])
    return _put(value, place, draw(ANYTHING))


junk: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=60),
    st.just(canary.PICKLE),
    ANYTHING.map(lambda value: text_of(value).encode()),
)
"""Bytes that nobody has stored."""


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Return bytes after up to three faults of a disk, a program or a hand; other than before."""
    result = content
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(result)))
        end = min(len(result), begin + draw(st.integers(1, 12)))
        kind = draw(st.sampled_from(("flip", "flip", "insert", "delete", "repeat", "cut", "junk")))
        if kind == "flip" and begin < len(result):
            byte = result[begin] ^ (1 << draw(st.integers(0, 7)))
            result = result[:begin] + bytes([byte]) + result[begin + 1 :]
        elif kind == "insert":
            result = result[:begin] + draw(st.binary(min_size=1, max_size=6)) + result[begin:]
        elif kind == "delete":
            result = result[:begin] + result[end:]
        elif kind == "repeat":
            result = result[:end] + result[begin:end] + result[end:]
        elif kind == "cut":
            result = result[:begin]
        elif kind == "junk":
            result = draw(junk)
    return result if result != content else result + b"\0"
