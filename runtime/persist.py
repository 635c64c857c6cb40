"""Agents to records and back.

The invariants, whatever the hooks of a class do:

1. A checkpoint never contains thread entries, only the pointer to the thread.
2. Thread entries and the checkpoint that points at them are one ``Change``.
3. A record of another kind, or of a newer version than the class, is not thawed.
4. An older version passes through ``migrate`` before it is validated.
5. Only "there is no checkpoint" makes a fresh agent.
6. What is committed can be thawed: it is decoded before it is saved.
"""

from __future__ import annotations

import json
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, cast, get_args, get_origin

from pydantic import ValidationError

from torpor.storage import codec
from torpor.storage.errors import (
    AgentError,
    CorruptRecordError,
    InvalidStateError,
    SchemaVersionError,
    ThawError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.agent import Agent, AgentSpec
    from torpor.storage import Record

__all__ = ["encode", "fresh", "is_scalar", "reset", "scalars", "thaw", "thaw_error", "validate"]

_SCALARS: frozenset[Any] = frozenset({int, str, float, bool, bytes, type(None)})
_UNIONS = (Union, UnionType)


def encode(agent: Agent, spec: AgentSpec, address: str) -> bytes:
    """Return the state to save as JSON; ``InvalidStateError`` if ``checkpoint`` gives none."""
    try:
        if "checkpoint" not in spec.hooks:
            return agent.__pydantic_serializer__.to_json(
                agent, round_trip=True, by_alias=False, warnings=False
            )
        data: Any = agent.checkpoint()
        if not isinstance(data, dict):
            msg = f"checkpoint() returned {type(data).__name__}, not a dict"
            raise TypeError(msg)
        return codec.dumps(data, "the checkpoint").encode()
    except Exception as error:
        raise _invalid(address, f"its fields cannot be saved: {error!r}") from error


def is_scalar(cls: type[Agent]) -> bool:
    """Whether the state is plain fields of values that can't change in themselves.

    Then the same objects in the fields are the same state, and encode to the same bytes.
    """
    own = cls.__pydantic_decorators__
    config = cls.model_config
    return not (
        own.field_serializers
        or own.model_serializers
        or config.get("extra") == "allow"
        or config.get("json_encoders")
    ) and all(
        not field.metadata and _SCALARS.issuperset(_alternatives(field.annotation))
        for field in cls.model_fields.values()
    )


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in _UNIONS else (annotation,)


def scalars(agent: Agent) -> tuple[object, ...] | None:
    """Return the field values of an agent, None if one of them may change in itself after all."""
    values = tuple(agent.__dict__.values())
    return values if _SCALARS.issuperset(map(type, values)) else None


def validate(spec: AgentSpec, encoded: bytes, address: str) -> None:
    """Raise ``InvalidStateError`` unless ``encoded`` could be thawed again."""
    try:
        _decode(spec, encoded)
    except Exception as error:
        raise _invalid(address, f"its fields could not be thawed again: {error}") from error


def reset(agent: Agent, spec: AgentSpec, encoded: bytes) -> None:
    """Give ``agent`` the fields that ``encoded`` holds. What is never saved stays as it is."""
    other = _decode(spec, encoded)
    kept = {name: agent.__dict__[name] for name in spec.unsaved if name in agent.__dict__}
    object.__setattr__(agent, "__dict__", other.__dict__ | kept)
    object.__setattr__(agent, "__pydantic_fields_set__", other.__pydantic_fields_set__)
    object.__setattr__(agent, "__pydantic_extra__", other.__pydantic_extra__)


def fresh(spec: AgentSpec, initial: Mapping[str, Any] | None, address: str) -> Agent:
    """Return an agent that was never saved; ``InvalidStateError`` if a field lacks its value."""
    values = dict(initial or {})
    if values and spec.cls.model_config.get("extra") != "allow":
        unknown = sorted(set(values) - set(spec.cls.model_fields))
        if unknown:
            raise _invalid(address, f"initial has no field {', '.join(unknown)}")
    try:
        return spec.cls.model_validate(values, by_name=True, by_alias=False)
    except ValidationError as error:
        raise _invalid(address, f"a fresh agent needs initial=… that fits: {error}") from error


def thaw(spec: AgentSpec, record: Record) -> Agent:
    """Return the agent of ``record``. Raises whatever stands in the way; see ``ThawError``."""
    if record.kind != spec.kind:
        detail = f"it is of kind {record.kind!r}, not {spec.kind!r}"
        raise CorruptRecordError(record.key, detail)
    data = record.data
    if data is None:
        raise CorruptRecordError(record.key, "it has no state")
    if record.version > spec.version:
        place = f"the checkpoint of {record.key!r}"
        raise SchemaVersionError(place, found=record.version, supported=spec.version)
    if record.version < spec.version:
        migrated: Any = spec.cls.migrate(_document(data, record.key), record.version)
        if not isinstance(migrated, dict):
            msg = f"migrate() returned {type(migrated).__name__}, not a dict"
            raise TypeError(msg)
        return _restore(spec, cast("dict[str, Any]", migrated))
    if "restore" in spec.hooks:
        return _restore(spec, _document(data, record.key))
    return _decode(spec, data)


def thaw_error(address: str, cause: BaseException) -> AgentError:
    """Return the error of a call whose agent can't be brought into memory by ``cause``."""
    if isinstance(cause, InvalidStateError):
        return cause
    error = ThawError(address, f"cannot be thawed: {cause}")
    error.__cause__ = cause
    return error


def _decode(spec: AgentSpec, encoded: str | bytes) -> Agent:
    if "restore" in spec.hooks:
        return _restore(spec, json.loads(encoded))
    return cast(
        "Agent",
        spec.cls.__pydantic_validator__.validate_json(encoded, by_alias=False, by_name=True),
    )


def _restore(spec: AgentSpec, document: dict[str, Any]) -> Agent:
    restored: Any = spec.cls.restore(document)
    if not isinstance(restored, spec.cls):
        msg = f"restore() returned {type(restored).__name__}, not {spec.cls.__name__}"
        raise TypeError(msg)
    return restored


def _document(data: str, key: str) -> dict[str, Any]:
    document = json.loads(data)
    if not isinstance(document, dict):
        raise CorruptRecordError(key, f"its state is {type(document).__name__}, not an object")
    return cast("dict[str, Any]", document)


def _invalid(address: str, detail: str) -> InvalidStateError:
    return InvalidStateError(address, detail)
