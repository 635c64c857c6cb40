"""How the arguments of a call are bound to its method, at the caller."""

from __future__ import annotations

import functools
import inspect
import threading
from typing import TYPE_CHECKING, Annotated, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from torpor import (
    Agent,
    InvalidArgumentsError,
    Runtime,
    command,
)
from torpor.commands import Command

if TYPE_CHECKING:
    from collections.abc import Callable

_PARAMETER = inspect.Parameter
_KINDS = [
    _PARAMETER.POSITIONAL_ONLY,
    _PARAMETER.POSITIONAL_OR_KEYWORD,
    _PARAMETER.VAR_POSITIONAL,
    _PARAMETER.KEYWORD_ONLY,
    _PARAMETER.VAR_KEYWORD,
]
_NAMES = ["a", "b", "c", "args", "kwargs", "config", "agent", "_x", "self_"]


@st.composite
def signatures(draw: st.DrawFn) -> inspect.Signature:
    """Any signature of a method, ``self`` included."""
    kinds = sorted(draw(st.lists(st.sampled_from(_KINDS), max_size=5)))
    once = {_PARAMETER.VAR_POSITIONAL, _PARAMETER.VAR_KEYWORD}
    names = draw(st.permutations(_NAMES))
    parameters = [_PARAMETER("self", _PARAMETER.POSITIONAL_ONLY)]
    defaulting = False
    for name, kind in zip(names, kinds, strict=False):
        if kind in once and any(p.kind is kind for p in parameters):
            continue
        default: Any = _PARAMETER.empty
        if kind not in once:
            positional = kind is not _PARAMETER.KEYWORD_ONLY
            wanted = draw(st.booleans()) or (positional and defaulting)
            defaulting = defaulting or (positional and wanted)
            default = draw(st.integers(-9, -1)) if wanted else default
        annotation = draw(st.sampled_from([_PARAMETER.empty, Any, int, "int", int | None]))
        parameters.append(_PARAMETER(name, kind, default=default, annotation=annotation))
    return inspect.Signature(parameters)


def method_of(signature: inspect.Signature) -> Callable[..., dict[str, Any]]:
    """Return a method with this signature that returns its arguments by name."""
    namespace: dict[str, Any] = {"Any": Any}
    exec(f"def method{signature}: return dict(locals())", namespace)  # noqa: S102 - made here
    return cast("Callable[..., dict[str, Any]]", namespace["method"])


@given(
    signatures(),
    st.lists(st.integers(0, 9), max_size=6),
    st.dictionaries(st.sampled_from(_NAMES), st.integers(0, 9), max_size=4),
)
def test_calls_bind_as_python_binds(
    signature: inspect.Signature, args: list[int], kwargs: dict[str, int]
) -> None:
    """A call fits at the caller exactly if it would fit the method, and means the same."""
    method = method_of(signature)
    sample = Command("method", method)
    try:
        expected = method(None, *args, **kwargs)
    except TypeError:
        with pytest.raises(InvalidArgumentsError):
            sample.bind("sample/a", tuple(args), kwargs)
        return

    bound_args, bound_kwargs = sample.bind("sample/a", tuple(args), kwargs)

    assert (bound_args, bound_kwargs) == (tuple(args), kwargs)
    assert method(None, *bound_args, **bound_kwargs) == expected


class Strict(Agent):
    """Takes arguments of many kinds."""

    def plain(self, n: int, text: str = "") -> tuple[int, str]:
        """Take plain types."""
        return n, text

    def anything(self, value: Any, *, key: Any = None) -> Any:
        """Take anything."""
        return value, key

    def unresolvable(
        self, sender: Callable[[], None], n: int, lock: threading.Lock | None = None
    ) -> tuple[int, bool]:
        """Take types that only type checkers can resolve."""
        sender()
        return n, lock is None

    def limited(self, n: int = Field(default=1, gt=0)) -> int:
        """Take what a pydantic field describes."""
        return n

    def positive(self, n: Annotated[int, Field(alias="number", gt=0)] = 1) -> int:
        """Take what is annotated with a field."""
        return n

    def handle(self, event: threading.Event | None) -> bool:
        """Take a type that pydantic knows nothing of."""
        return event is not None

    async def later(self, n: int) -> int:
        """Take a number, asynchronously."""
        return n


WRONG_CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (Strict.plain, (), {}),
    (Strict.plain, (1, "x", 2), {}),
    (Strict.plain, (1,), {"n": 1}),
    (Strict.plain, (1,), {"nonsense": 1}),
    (Strict.plain, ("one",), {}),
    (Strict.plain, (1, 2), {}),
    (Strict.plain, (1.5,), {}),
    (Strict.anything, (1, 2), {}),
    (Strict.unresolvable, (print, "x"), {}),
    (Strict.limited, (0,), {}),
    (Strict.positive, (0,), {}),
    (Strict.handle, (3,), {}),
    (Strict.later, (), {}),
]


@pytest.mark.parametrize(("method", "args", "kwargs"), WRONG_CALLS)
def test_a_wrong_call_fails_at_the_caller(
    memory: Runtime, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Arguments are bound and validated when the call is made; nothing is sent."""
    strict = memory.get(Strict, "a")
    proxied = getattr(strict.proxy(), method.__name__)

    calls: list[Callable[..., Any]] = [
        functools.partial(strict.ask, method),
        functools.partial(strict.submit, method),
        functools.partial(strict.tell, method),
        proxied,
        proxied.defer,
    ]
    for call in calls:
        with pytest.raises(InvalidArgumentsError, match=method.__name__) as caught:
            call(*args, **kwargs)
        assert isinstance(caught.value, TypeError)
        assert caught.value.agent == "strict/a"
    assert memory.stats().live == 0


def test_arguments_are_converted_as_annotated(memory: Runtime) -> None:
    """An argument that stands for the annotated type arrives as that type."""
    strict = memory.get(Strict, "a")

    assert strict.ask(Strict.plain, cast("int", "7")) == (7, "")
    assert strict.ask(Strict.plain, n=cast("int", 7.0), text="x") == (7, "x")
    assert strict.ask(Strict.anything, "7", key=[1]) == ("7", [1])
    assert strict.ask(Strict.unresolvable, lambda: None, cast("int", "3")) == (3, True)
    assert strict.ask(Strict.handle, threading.Event()) is True
    assert strict.ask(Strict.limited) == 1
    assert strict.ask(Strict.positive) == 1
    assert strict.proxy().positive(number="2").get() == 2


def test_arguments_and_results_are_passed_by_reference(memory: Runtime) -> None:
    """Within a process what was passed is what arrives, not a copy."""

    class Mirror(Agent):
        """Gives back what it gets."""

        def reflect(self, value: Any) -> Any:
            """Return ``value`` itself."""
            return value

    value = {"list": [1]}

    assert memory.get(Mirror, "a").ask(Mirror.reflect, value) is value


def test_command_marks_are_kept_through_inheritance() -> None:
    """``@command`` tells the runtime what it can't guess; an override says it anew."""

    class Payer(Agent):
        """Has a marked handler."""

        @command(rerun=False, thread="worker", keeps_awake=True)
        def pay(self) -> None:
            """Pay."""

        def look(self) -> None:
            """Look."""

    class Child(Payer):
        """Inherits one and overrides none."""

    marks = Child.agent_spec.commands["pay"].marks
    assert (marks.rerun, marks.thread, marks.keeps_awake) == (False, "worker", True)
    marks = Child.agent_spec.commands["look"].marks
    assert (marks.rerun, marks.thread, marks.keeps_awake) == (True, "any", False)
