"""The methods of an agent class that can be called by message, and how calls are bound."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, validate_call
from pydantic.fields import FieldInfo

from torpor.arguments import JsonArguments
from torpor.storage.errors import InvalidArgumentsError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Command", "command", "commands_of"]

F = TypeVar("F", bound="Callable[..., Any]")
Bound = tuple[tuple[Any, ...], dict[str, Any]]

_MARK = "__torpor_command__"
_PLAIN = frozenset({int, str, float, bool, bytes, type(None)})
_NO_KEYWORDS: dict[str, Any] = {}
_UNRESOLVABLE = (NameError, AttributeError, TypeError)


@dataclass(frozen=True, slots=True)
class _Marks:
    rerun: bool = True
    thread: Literal["any", "worker"] = "any"
    keeps_awake: bool = False


def command(
    *,
    rerun: bool = True,
    thread: Literal["any", "worker"] = "any",
    keeps_awake: bool = False,
) -> Callable[[F], F]:
    """Tell the runtime what it can't guess about a method. Not needed otherwise.

    ``rerun=False``: after a conflict with another process the turn is not run again; its caller
    gets ``ConflictError(outcome="not_applied")``. ``thread="worker"``: never runs on the
    thread of a blocking caller. ``keeps_awake=True``: a schedule's tick of this method resets
    the idle clock, as every other message does anyway.
    """

    def mark(method: F) -> F:
        setattr(method, _MARK, _Marks(rerun, thread, keeps_awake))
        return method

    return mark


class Command:
    """One callable method of one class."""

    __slots__ = (
        "_described",
        "_exact",
        "_json",
        "_names",
        "_required",
        "_validate",
        "bare",
        "function",
        "is_async",
        "marks",
        "name",
        "runs_anywhere",
    )

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.marks: _Marks = getattr(function, _MARK, _Marks())
        self.runs_anywhere = not self.is_async and self.marks.thread == "any"
        # Known to need no arguments: a call that gives none has nothing to bind.
        self.bare = False
        self._validate: Callable[..., Bound] | None = None
        self._json: JsonArguments | None = None
        self._described = False
        self._exact: tuple[Any, ...] = ()
        self._names: tuple[str, ...] = ()
        self._required = sys.maxsize

    @property
    def json(self) -> JsonArguments:
        """What takes the arguments to JSON and back, for calls that are stored."""
        if self._json is None:
            self._json = JsonArguments(self, _resolved_hints(self.function))
        return self._json

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        """Return the names of the parameters that a bound call gives, never their values."""
        surplus = ["*"] * (len(args) - len(self._names))
        return [*self._names[: len(args)], *surplus, *kwargs]

    def bind(self, agent: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bound:
        """Return the validated arguments; ``InvalidArgumentsError`` if they don't fit.

        Positional arguments whose annotations are absent or exactly the plain type given skip
        the validator: that is most calls, and a tenth of the time.
        """
        if self._validate is None:
            self._prepare()
        if not kwargs and self._required <= len(args) <= len(self._exact):
            for value, exact in zip(args, self._exact, strict=False):
                if exact is not Any and type(value) is not exact:
                    break
            else:
                return args, _NO_KEYWORDS
        assert self._validate is not None
        try:
            values, named = self._validate(*args, **kwargs)
        except (ValidationError, TypeError) as error:
            raise InvalidArgumentsError(agent, f"{self.name}(): {error}") from error
        if self._described:
            return values, named
        # The validator has filled in the defaults, which are the function's own business.
        return values[: len(args)], {name: named[name] for name in kwargs}

    def _prepare(self) -> None:
        signature = inspect.signature(self.function)
        own = list(signature.parameters.values())[1:]
        hints = _resolved_hints(self.function)
        own = [p.replace(annotation=hints.get(p.name, Any)) for p in own]

        def collect(*args: Any, **kwargs: Any) -> Bound:
            return args, kwargs

        collect.__signature__ = signature.replace(  # type: ignore[attr-defined]  # read by inspect
            parameters=own, return_annotation=inspect.Signature.empty
        )
        collect.__annotations__ = {p.name: p.annotation for p in own}
        positional = [p for p in own if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
        self._names = tuple(p.name for p in positional)
        self._exact = tuple(
            p.annotation if p.annotation in _PLAIN or p.annotation is Any else _Never
            for p in positional
        )
        plain = all(p.kind is not p.KEYWORD_ONLY or p.default is not p.empty for p in own)
        self._described = any(_is_described(p) for p in own)
        if plain and not self._described:
            self._required = sum(p.default is p.empty for p in positional)
            self.bare = not self._required
        self._validate = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(collect)


def _is_described(parameter: inspect.Parameter) -> bool:
    """Whether pydantic knows more of a parameter than its type: a default or name of its own."""
    annotated = get_origin(parameter.annotation) is Annotated
    return annotated or isinstance(parameter.default, FieldInfo)


class _Never:
    """The type of no value: such an argument always goes through the validator."""


def _resolved_hints(function: Callable[..., Any]) -> dict[str, Any]:
    # What only type checkers can resolve, such as names imported for them alone, takes anything.
    try:
        return get_type_hints(function, include_extras=True)
    except _UNRESOLVABLE:
        pass
    hints: dict[str, Any] = {}
    for name, annotation in function.__annotations__.items():

        def holder() -> None: ...

        holder.__annotations__ = {name: annotation}
        namespace = getattr(function, "__globals__", {})
        try:
            hints.update(get_type_hints(holder, globalns=namespace, include_extras=True))
        except _UNRESOLVABLE:
            hints[name] = Any
    return hints


def commands_of(cls: type[BaseModel], hooks: frozenset[str]) -> dict[str, Command]:
    """Return the commands of an agent class by name.

    Public functions of the class and of its bases; not hooks, not pydantic's own methods, not
    static or class methods.
    """
    found: dict[str, Command] = {}
    for name in dir(cls):
        if name.startswith("_") or name in hooks or hasattr(BaseModel, name):
            continue
        member = inspect.getattr_static(cls, name)
        if inspect.isfunction(member):
            found[name] = Command(name, member)
    return found
