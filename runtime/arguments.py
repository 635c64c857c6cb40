"""The arguments of a method as JSON and back, by its annotations."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUserError

from torpor.storage import codec
from torpor.storage.errors import InvalidArgumentsError, UnserializableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.commands import Bound, Command

__all__ = ["JsonArguments"]

_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")


class JsonArguments:
    """Takes the arguments of one command to JSON data and back.

    A parameter without annotation takes plain JSON data, and nothing that would come back as
    something else.
    """

    def __init__(self, command: Command, hints: Mapping[str, Any]) -> None:
        self._command = command
        self._positional: list[TypeAdapter[Any] | None] = []
        self._named: dict[str, TypeAdapter[Any] | None] = {}
        self._surplus: TypeAdapter[Any] | None = None
        self._others: TypeAdapter[Any] | None = None
        for parameter in list(inspect.signature(command.function).parameters.values())[1:]:
            adapter = _adapter(hints.get(parameter.name, Any))
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._surplus = adapter
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._others = adapter
            else:
                self._named[parameter.name] = adapter
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    self._positional.append(adapter)

    def dump(self, agent: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return bound arguments as ``{"args": […], "kwargs": {…}}``, empty ones left out.

        Raises ``UnserializableError`` for a value that has no JSON form, or whose JSON form
        does not fit its parameter.
        """
        document: dict[str, Any] = {}
        if args:
            document["args"] = [self._dump(i, value) for i, value in enumerate(args)]
        if kwargs:
            document["kwargs"] = {name: self._dump(name, kwargs[name]) for name in kwargs}
        try:
            self.load(agent, document)
        except InvalidArgumentsError as error:
            raise UnserializableError(str(error)) from error
        return document

    def load(self, agent: str, document: Mapping[str, Any]) -> Bound:
        """Return what ``dump`` took; ``InvalidArgumentsError`` if it fits the method no more."""
        args: Any = document.get("args", [])
        kwargs: Any = document.get("kwargs", {})
        try:
            _require(args, list)
            _require(kwargs, dict)
            values = tuple(_load(self._of(i), value) for i, value in enumerate(args))
            named = {name: _load(self._of(name), value) for name, value in kwargs.items()}
            return self._command.bind(agent, values, named)
        except (ValueError, RecursionError, InvalidArgumentsError) as error:
            detail = f"{self._command.name}() cannot be called from JSON: {error}"
            raise InvalidArgumentsError(agent, detail) from error

    def _of(self, place: int | str) -> TypeAdapter[Any] | None:
        if isinstance(place, str):
            return self._named.get(place, self._others)
        return self._positional[place] if place < len(self._positional) else self._surplus

    def _dump(self, place: int | str, value: Any) -> Any:
        what = f"argument {place!r} of {self._command.name}()"
        adapter = self._of(place)
        if adapter is None:
            return json.loads(codec.dumps(value, what))
        try:
            return json.loads(adapter.dump_json(value, warnings="error"))
        except ValueError as error:
            msg = f"{what} has no JSON form: {error}"
            raise UnserializableError(msg) from error


def _require(value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        msg = f"its arguments are {value!r:.80}"
        raise ValueError(msg)  # noqa: TRY004 - told with all else that is stored and does not fit


def _load(adapter: TypeAdapter[Any] | None, value: Any) -> Any:
    return value if adapter is None else adapter.validate_json(json.dumps(value))


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    """Return the adapter of a parameter, None where only plain JSON data will do."""
    if annotation is Any or annotation is object:
        return None
    try:
        return TypeAdapter(annotation, config=_CONFIG)
    except PydanticUserError:
        pass  # a model or dataclass, which has a configuration of its own, or no pydantic type
    try:
        return TypeAdapter(annotation)
    except PydanticUserError:
        return None
