"""Tools: typed functions that a model may call."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import to_json

from torpor.storage.errors import AgentDefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torpor.agent import Agent

__all__ = ["ApprovalPolicy", "Tool", "tool"]

F = TypeVar("F", bound="Callable[..., Any]")

_AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPolicy:
    """When a tool needs a human's approval.

    ``allow_auto``: it needs none after all. ``when``: asked with the call's arguments; False
    lets this call run by itself. If it raises, approval is needed. ``note`` is shown to the
    human and to the model. ``expires_after`` seconds without a decision the call is rejected.
    """

    allow_auto: bool = False
    when: Callable[[Mapping[str, Any]], bool] | None = None
    note: str | None = None
    expires_after: float | None = None

    def applies(self, arguments: Mapping[str, Any]) -> bool:
        """Whether a call with ``arguments`` has to wait for a human."""
        if self.allow_auto:
            return False
        if self.when is None:
            return True
        try:
            return bool(self.when(arguments))
        except Exception:  # noqa: BLE001 - whatever it is, nobody has said that it may run
            return True


class Tool:
    """A function with its name, its description and the JSON Schema of its arguments.

    ``once``: at most one run. It is durably marked as running before it starts, and if that
    run's end is not known it is reported to humans instead of being run again. Other tools run
    at least once: a crash, or a conflict with another process, before their result is saved
    runs them again.
    """

    def __init__(
        self, function: Callable[..., Any], *, once: bool = False, policy: ApprovalPolicy | None
    ) -> None:
        self.function = function
        self.name: str = function.__name__
        self.description = inspect.getdoc(function) or ""
        self.policy = policy
        self.once = once or policy is not None
        self._takes_agent, self._arguments = _arguments_of(function)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        return self._arguments.model_json_schema(by_alias=True)

    def refusal(self, arguments: Mapping[str, Any]) -> str | None:
        """Return why ``arguments`` don't fit, None if they do."""
        try:
            self._arguments.model_validate(arguments)
        except ValidationError as error:
            return str(error)
        return None

    async def run(self, agent: Agent, arguments: Mapping[str, Any]) -> str:
        """Run the function and return its result as text, JSON unless it is text.

        A plain ``def`` runs on another thread. Raises what the function raises.
        """
        bound = self._arguments.model_validate(arguments)
        named = {
            field.alias or name: getattr(bound, name)
            for name, field in type(bound).model_fields.items()
            if name in bound.model_fields_set
        }
        if self._takes_agent:
            named[_AGENT] = agent
        if inspect.iscoroutinefunction(self.function):
            result = await self.function(**named)
        else:
            result = await asyncio.to_thread(self.function, **named)
        return result if isinstance(result, str) else to_json(result).decode()


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    needs_approval: bool | Callable[[Mapping[str, Any]], bool] = False,
    note: str | None = None,
    expires_after: float | None = None,
    once: bool = False,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    needs_approval: bool | Callable[[Mapping[str, Any]], bool] = False,
    note: str | None = None,
    expires_after: float | None = None,
    once: bool = False,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function, sync or async, whose parameters are annotated.

    Its name, docstring and annotations are what the model is told. A parameter called ``agent``
    gets the agent and is hidden from the model. ``needs_approval``: always, or when a callable
    says so of the arguments; then it waits for a human, ``expires_after`` seconds at most, and
    runs at most once. ``once``: at most once without approval; see ``Tool``. Raises
    ``AgentDefinitionError`` for a parameter without an annotation, ``*args`` and ``**kwargs``.
    """

    def make(function: Callable[..., Any]) -> Tool:
        policy = None
        if needs_approval:
            when = needs_approval if callable(needs_approval) else None
            policy = ApprovalPolicy(when=when, note=note, expires_after=expires_after)
        return Tool(function, once=once, policy=policy)

    return make if function is None else make(function)


def _arguments_of(function: Callable[..., Any]) -> tuple[bool, type[BaseModel]]:
    """Return whether ``function`` takes the agent, and a model of its other arguments.

    The model's own field names are made up: a parameter may be called like a pydantic method.
    """
    hints = _hints(function)
    fields: dict[str, Any] = {}
    takes_agent = False
    for number, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            _refuse(function, f"*{name} has no schema: name each parameter")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            _refuse(function, f"{name} is positional only: models pass arguments by name")
        if name == _AGENT:
            takes_agent = True
            continue
        if name not in hints:
            _refuse(function, f"the parameter {name} needs an annotation")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[f"argument_{number}"] = (hints[name], Field(default, alias=name, title=name))
    config = ConfigDict(extra="forbid")
    return takes_agent, create_model(function.__name__, __config__=config, **fields)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of the arguments that a model passes."""

    def holder() -> None: ...

    apart = {_AGENT, "return"}
    annotations = {n: a for n, a in function.__annotations__.items() if n not in apart}
    holder.__annotations__ = annotations
    namespace = getattr(function, "__globals__", {})
    try:
        return get_type_hints(holder, globalns=namespace, include_extras=True)
    except NameError as error:
        msg = f"the tool {function.__name__}: {error}; its annotations are needed at run time"
        raise AgentDefinitionError(msg) from error


def _refuse(function: Callable[..., Any], detail: str) -> None:
    msg = f"the tool {function.__name__}: {detail}"
    raise AgentDefinitionError(msg)
