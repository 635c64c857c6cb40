"""Dataclasses made of stored JSON: whatever is not of the type that its field says is refused."""

from __future__ import annotations

import sys
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["built"]

T = TypeVar("T")

_LARGEST = sys.float_info.max
_MOST = 2**63


def built(cls: type[T], document: Any) -> T:
    """Return ``cls(**document)``; ``TypeError`` or ``ValueError`` if it can't be one.

    For fields of plain JSON types, unions and literals of them; numbers are finite. Of a list or
    a dict only the outside is looked at.
    """
    made = cls(**document)
    kind: Any = cls  # mypy takes no type for hashable
    for name, fits in _checks(kind):
        value = getattr(made, name)
        if not fits(value):
            msg = f"{cls.__name__}.{name} is {value!r:.80}"
            raise TypeError(msg)
    return made


@cache
def _checks(cls: type[Any]) -> tuple[tuple[str, Callable[[Any], bool]], ...]:
    hints = get_type_hints(cls)
    return tuple((name, _check(hint)) for name, hint in hints.items() if hint is not Any)


def _check(hint: Any) -> Callable[[Any], bool]:
    origin = get_origin(hint)
    if origin in {Union, UnionType}:
        checks = [_check(part) for part in get_args(hint)]
        return lambda value: any(check(value) for check in checks)
    if origin is Literal:
        values = get_args(hint)
        return lambda value: isinstance(value, str) and value in values
    if hint is float:
        return _is_number
    if hint is int:
        return lambda value: type(value) is int and -_MOST <= value < _MOST
    kind = origin or hint
    return lambda value: type(value) is kind


def _is_number(value: Any) -> bool:
    return type(value) in {float, int} and -_LARGEST <= value <= _LARGEST
