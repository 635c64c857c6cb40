"""The base class of agents, and what is known of each agent class."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Protocol, Self

from pydantic import BaseModel, ConfigDict

from torpor import persist, scheduling
from torpor.address import validate_kind
from torpor.commands import Command, commands_of
from torpor.options import OPTION_NAMES, AgentOptions
from torpor.storage.errors import (
    AgentDefinitionError,
    ConfigurationError,
    InvalidKeyError,
    UnknownMethodError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from torpor.ref import AgentRef
    from torpor.runtime import Runtime
    from torpor.schedules import Misfire, Schedule
    from torpor.thread import AgentThread

__all__ = ["Agent", "AgentHost", "AgentSpec", "spec_of"]

HOOKS = frozenset(
    {"on_start", "on_thaw", "on_hibernate", "on_failure", "checkpoint", "restore", "migrate"}
)
PLANNING = frozenset({"schedule", "schedules", "cancel_schedule"})
RESERVED = frozenset({"id", "thread", "ref", "runtime"}) | PLANNING


class AgentHost(Protocol):
    """Where an agent object lives: an activation, or a detached copy's holder."""

    agent_id: str
    seen: tuple[object, ...] | None
    """The values of all fields that were encoded last, in order; None if that is not known."""

    @property
    def agent_thread(self) -> AgentThread:
        """The agent's journal."""
        ...

    @property
    def agent_ref(self) -> AgentRef[Any]:
        """The agent's address."""
        ...

    @property
    def agent_runtime(self) -> Runtime:
        """The runtime that the agent lives in."""
        ...


class AgentSpec:
    """What an agent class says of itself: kind, version, options, commands, hooks."""

    __slots__ = (
        "cls",
        "commands",
        "fields",
        "hooks",
        "kind",
        "known",
        "options",
        "scalar",
        "unsaved",
        "version",
    )

    def __init__(self, cls: type[Agent], kind: str, version: int, options: dict[str, Any]) -> None:
        self.cls = cls
        self.kind = kind
        self.version = version
        self.options = options
        self.commands = commands_of(cls, HOOKS | PLANNING)
        self.hooks = frozenset(
            name
            for name in HOOKS
            if inspect.getattr_static(cls, name) is not inspect.getattr_static(Agent, name)
        )
        self.unsaved = [name for name, field in cls.model_fields.items() if field.exclude]
        self.scalar = not self.unsaved and "checkpoint" not in self.hooks and persist.is_scalar(cls)
        self.known: dict[object, Command] = {}
        self.fields: dict[str, Command] = {}

    def find(self, method: Callable[..., Any]) -> Command:
        """Return the command that a call with ``method`` means, or ``UnknownMethodError``.

        Dispatch is by name, so that overrides work; but the function itself must stand under
        that name in a class of this agent's family.
        """
        try:
            return self.known[method]
        except (KeyError, TypeError):  # new, or not even hashable
            command = self.known[method] = self._look_up(method)
        return command

    def find_name(self, name: str) -> Command:
        """Return the command called ``name``, or ``UnknownMethodError``."""
        try:
            return self.commands[name]
        except KeyError:
            raise UnknownMethodError(self.kind, f"no command {name!r}") from None

    def find_field(self, name: str) -> Command:
        """Return a command that reads the field ``name``, or ``UnknownMethodError``."""
        if name not in self.cls.model_fields:
            raise UnknownMethodError(self.kind, f"no command and no field {name!r}")
        if name not in self.fields:

            def read(agent: Agent) -> Any:
                return getattr(agent, name)

            self.fields[name] = Command(name, read)
        return self.fields[name]

    def _look_up(self, method: Callable[..., Any]) -> Command:
        name = getattr(method, "__name__", repr(method))
        for cls in self.cls.__mro__:
            if vars(cls).get(name) is method:
                return self.find_name(name)
        detail = (
            f"{name!r} is not a public method of {self.cls.__qualname__}; "
            f"pass the method itself, as in ask({self.cls.__name__}.method, …)"
        )
        raise UnknownMethodError(self.kind, detail)


class Agent(BaseModel):
    """Base class of agents: a pydantic model whose fields are the persisted state.

    Class keywords: ``kind`` (the stable name it is stored under; default: the class name in
    snake case), ``version`` (an int from 1; older stored versions pass through ``migrate``),
    and any of ``AgentOptions``. Subclasses inherit options, not kind and version.

    Public methods, sync or async, are called by message: one at a time, each a transaction. If
    one raises, fields and thread are as before it. Private attributes, and fields with
    ``exclude=True``, are neither saved nor rolled back. Arguments and results pass by reference
    within a process: don't change or share them afterwards. Hooks are plain ``def`` methods.
    """

    __slots__ = ("_host",)

    model_config = ConfigDict(
        validate_assignment=True,
        ser_json_inf_nan="strings",
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )

    agent_spec: ClassVar[AgentSpec]

    def __init_subclass__(cls, **keywords: Any) -> None:
        own = set(vars(cls).get("__annotations__", {}))
        _refuse_reserved(cls, (own | set(vars(cls))) & RESERVED | own & HOOKS)
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, **keywords: Any) -> None:
        super().__pydantic_init_subclass__()
        _refuse_reserved(cls, _shadowed(cls))
        try:
            kind = validate_kind(keywords.pop("kind", None) or _snake_case(cls.__name__))
            version = keywords.pop("version", 1)
            if not isinstance(version, int) or version < 1:
                msg = f"version is an int from 1, not {version!r}"
                raise ConfigurationError(msg)
            inherited: AgentSpec | None = getattr(cls, "agent_spec", None)
            options = (inherited.options if inherited else {}) | keywords
            if unknown := sorted(set(options) - OPTION_NAMES):
                msg = f"no option {', '.join(unknown)}; there are {', '.join(sorted(OPTION_NAMES))}"
                raise ConfigurationError(msg)
            AgentOptions(**options)
            for hook in HOOKS:
                if inspect.iscoroutinefunction(getattr(cls, hook)):
                    msg = f"the hook {hook} is a plain def, not async"
                    raise ConfigurationError(msg)
        except (ConfigurationError, InvalidKeyError) as error:
            msg = f"{cls.__qualname__}: {error}"
            raise AgentDefinitionError(msg) from error
        cls.agent_spec = AgentSpec(cls, kind, version, options)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        with suppress(AttributeError):
            _host_of(self).seen = None  # a field that is set again comes last

    @property
    def id(self) -> str:
        """This agent's key: what was passed to ``runtime.get``."""
        return _host_of(self).agent_id

    @property
    def thread(self) -> AgentThread:
        """This agent's own append-only journal."""
        return _host_of(self).agent_thread

    @property
    def ref(self) -> AgentRef[Self]:
        """The address of this agent, to hand to others."""
        return _host_of(self).agent_ref

    @property
    def runtime(self) -> Runtime:
        """The runtime that this agent lives in."""
        return _host_of(self).agent_runtime

    def schedule(  # noqa: PLR0913 - the ways to say when are keywords
        self,
        method: Callable[Concatenate[Self, ...], Any],
        /,
        *args: Any,
        after: float | timedelta | None = None,
        at: float | datetime | None = None,
        every: float | timedelta | None = None,
        cron: str | None = None,
        tz: str | None = None,
        id: str | None = None,  # noqa: A002 - the schedule's own
        misfire: Misfire = "once",
    ) -> str:
        """Plan calls of one of this agent's methods, saved with this turn; return the id.

        A due schedule wakes the agent, also after a restart, if a running ``Runtime`` knows its
        class. Each tick is a turn whose commit moves the schedule on: a crash neither forgets
        nor doubles it. A handler that raises is rolled back and tried again with back-off, ten
        times; then a recurring schedule goes on with its next tick, and a one-shot is a dead
        letter. So with a turn that the storage refuses, unless the class's ``durability`` is to
        save it later: that tick is stored with all it did, or run again by the next process.

        Args:
            method: One of this agent's, as for ``ask``.
            args: Its arguments; they are kept as JSON, by the method's annotations.
            after: Once, so many seconds from now.
            at: Once, at a ``datetime`` (with a time zone, or in ``tz``) or a Unix time.
            every: Again and again, so many seconds apart; ``after`` or ``at`` say when first.
            cron: Five fields, six with seconds in front, or an alias such as ``"@daily"``.
            tz: The time zone of ``cron`` and ``at``, such as ``"Europe/Berlin"``; default UTC.
                A local time that a clock change leaves out is skipped; one that comes twice
                counts the second time. With ``*`` as its hour ``cron`` runs in both.
            id: To replace or cancel it by: a schedule of the same id is replaced.
            misfire: What becomes of ticks that passed, by more than a minute, while nobody was
                there to run them: ``"skip"`` them, run the last one ``"once"``, or ``"all"``,
                one after the other.

        Raises ``ScheduleError``, ``UnknownMethodError``, ``InvalidArgumentsError``,
        ``UnserializableError``, and ``ConfigurationError`` outside of this agent's turns.
        """
        return scheduling.add(
            self,
            method,
            args,
            after=after,
            at=at,
            every=every,
            cron=cron,
            tz=tz,
            schedule_id=id,
            misfire=misfire,
        )

    def cancel_schedule(self, id: str) -> bool:  # noqa: A002 - the schedule's own
        """Cancel a schedule with this turn; False if there is none of this id."""
        return scheduling.cancel(self, id)

    def schedules(self) -> list[Schedule]:
        """Return what is planned, the next one first."""
        return scheduling.planned(self)

    def on_start(self) -> None:
        """Run once in an agent's life, in the transaction of its first turn."""

    def on_thaw(self) -> None:
        """Run after each thaw, in the transaction of the first turn after it."""

    def on_hibernate(self) -> None:
        """Run before each hibernation; what it changes is saved.

        If it raises, the state before it is saved and a ``HookFailed`` event says so. Don't
        rely on it for correctness: a killed process runs no hooks.
        """

    def on_failure(self, error: BaseException) -> None:
        """Run after a turn failed and was rolled back; what it changes is kept."""

    def checkpoint(self) -> dict[str, Any]:
        """Return the state to save as JSON data. Default: every field.

        Called after every turn: keep it quick and free of side effects.
        """
        return self.model_dump(mode="json", round_trip=True, by_alias=False)

    @classmethod
    def restore(cls, data: dict[str, Any]) -> Self:
        """Return an agent of a checkpoint's data. Default: validate it as the fields."""
        return cls.model_validate(data, by_alias=False, by_name=True)

    @classmethod
    def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
        """Return ``data``, saved by an older ``version`` of this class, in today's form.

        Default: unchanged, for versions that only added fields with defaults.
        """
        del from_version
        return data


def spec_of(cls: type[Agent]) -> AgentSpec:
    """Return what is known of an agent class; ``ConfigurationError`` if it is none."""
    spec: AgentSpec | None = getattr(cls, "agent_spec", None)
    if spec is None:
        msg = f"{cls!r} is not a class of agents: derive one from Agent"
        raise ConfigurationError(msg)
    return spec


def _shadowed(cls: type[Agent]) -> set[str]:
    """Return the reserved names that a mixin of ``cls`` has taken."""
    return set(cls.model_fields) & (RESERVED | HOOKS) | {
        name
        for name in RESERVED
        if inspect.getattr_static(cls, name) is not inspect.getattr_static(Agent, name)
    }


def _refuse_reserved(cls: type[Agent], names: set[str]) -> None:
    if names:
        taken = ", ".join(sorted(names))
        msg = f"{cls.__qualname__}: {taken} is reserved by torpor; rename the field"
        raise AgentDefinitionError(msg)


def _host_of(agent: Agent) -> AgentHost:
    try:
        host: AgentHost = object.__getattribute__(agent, "_host")
    except AttributeError:
        msg = f"this {type(agent).__name__} lives in no runtime: use runtime.get(…)"
        raise AttributeError(msg) from None
    return host


def _snake_case(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"\W+", "_", words).strip("_").lower()
