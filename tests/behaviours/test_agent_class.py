"""What a class of agents is: its kind, its options, its hooks, its first state."""

from __future__ import annotations

import types
from typing import Any, TypeVar, cast

import pytest
from pydantic import BaseModel, ConfigDict, create_model

from tests.behaviours.kit import Counter
from torpor import (
    Agent,
    AgentDefinitionError,
    ConfigurationError,
    DuplicateKindError,
    InvalidStateError,
    Runtime,
)

T = TypeVar("T")

HOOKS = ["on_start", "on_thaw", "on_hibernate", "on_failure", "checkpoint", "restore", "migrate"]
RESERVED = ["id", "thread", "ref", "runtime"]


def define(
    name: str = "Sample",
    base: type[Any] | tuple[type[Any], ...] = Agent,
    fields: dict[str, Any] | None = None,
    **keywords: Any,
) -> type[Agent]:
    """Define a class of agents with these fields and class keywords."""
    model: Any = create_model(name, __base__=base, __cls_kwargs__=keywords, **(fields or {}))
    return cast("type[Agent]", model)


def define_with(name: str, attribute: object) -> type[Agent]:
    """Define a class of agents with an attribute that is no field."""
    contents = {"__module__": __name__, name: attribute}
    return cast(
        "type[Agent]", types.new_class("Sample", (Agent,), {}, lambda it: it.update(contents))
    )


class Animal(Agent, idle_timeout=5, mailbox=7):
    """Has a handler and options to inherit."""

    legs: int = 4
    _mood: str = "calm"

    def speak(self, times: int = 1) -> str:
        """Make a sound."""
        return self._sound() * times

    def _sound(self) -> str:
        return "…"


class Dog(Animal, kind="canine", version=3, mailbox=8):
    """Overrides what it inherits."""

    tail: bool = True

    def speak(self, times: int = 1) -> str:
        """Bark."""
        return super().speak(times) + "wuff" * times


# -- kinds and options -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Cart", "cart"),
        ("ShoppingCart", "shopping_cart"),
        ("HTTPServer", "http_server"),
        ("OAuth2Token", "o_auth2_token"),
        ("Already_snake", "already_snake"),
        ("_Private", "private"),
    ],
)
def test_kind_is_the_name_in_snake_case(name: str, kind: str) -> None:
    """Without ``kind=`` a class is stored under its name in snake case."""
    assert define(name).agent_spec.kind == kind


@pytest.mark.parametrize("kind", ["Cart", "a/b", "a@b", "a b", "ä", "-x", "a\n"])
def test_kind_is_a_plain_word(kind: str) -> None:
    """A kind that an address could not hold is refused when the class is defined."""
    with pytest.raises(AgentDefinitionError, match="kind"):
        define(kind=kind)


def test_options_are_inherited_kind_and_version_are_not() -> None:
    """A subclass has its base's options under a kind of its own, and starts at version 1."""

    class Puppy(Dog):
        """A third generation."""

    assert (Dog.agent_spec.kind, Dog.agent_spec.version) == ("canine", 3)
    assert (Puppy.agent_spec.kind, Puppy.agent_spec.version) == ("puppy", 1)
    assert Dog.agent_spec.options == {"idle_timeout": 5, "mailbox": 8}
    assert Puppy.agent_spec.options == Dog.agent_spec.options


def test_class_options_win_over_the_runtimes() -> None:
    """The runtime's options are defaults for classes that say nothing."""
    with Runtime("memory:", idle_timeout=1, mailbox=2) as runtime:
        dog, counter = runtime.get(Dog, "a"), runtime.get(Counter, "a")

    assert (dog.registration.options.idle_timeout, dog.registration.options.mailbox) == (5, 8)
    assert counter.registration.options.idle_timeout == 1
    assert counter.registration.options.mailbox == 2


@pytest.mark.parametrize(
    "keywords",
    [
        {"idle_timout": 5},
        {"idle_timeout": -1},
        {"idle_timeout": float("nan")},
        {"durability": "always"},
        {"flush_interval": 0},
        {"mailbox": 0},
        {"version": 0},
        {"version": "2"},
    ],
    ids=str,
)
def test_wrong_options_are_refused(keywords: dict[str, Any]) -> None:
    """A misspelt or senseless option is an error when the class is defined."""
    with pytest.raises(AgentDefinitionError, match=next(iter(keywords))):
        define(**keywords)


@pytest.mark.parametrize(
    "keywords", [{"max_live": 0}, {"max_thaws": 0}, {"max_workers": 0}, {"durability": "always"}]
)
def test_wrong_runtime_options_are_refused(keywords: dict[str, Any]) -> None:
    """A senseless option of a runtime is an error when it is made."""
    with pytest.raises(ConfigurationError, match=next(iter(keywords))):
        Runtime("memory:", **keywords)


def test_two_classes_of_one_kind_are_refused(memory: Runtime) -> None:
    """Two classes that would share their agents' records cannot be used in one runtime."""
    memory.get(define("Same"), "a")

    with pytest.raises(DuplicateKindError, match="'same'"):
        memory.get(define("Same"), "a")


def test_duplicates_among_the_announced_are_refused_at_once() -> None:
    """Classes that a runtime is told of are compared when it is made."""
    with pytest.raises(DuplicateKindError):
        Runtime("memory:", agents=[define("Same"), define("Other", kind="same")])


@pytest.mark.parametrize("cls", [Agent, int, BaseModel])
def test_only_classes_of_agents_have_agents(memory: Runtime, cls: type[Any]) -> None:
    """Asking for an agent of anything else is a mistake that is named (PE-4)."""
    with pytest.raises(ConfigurationError, match="not a class of agents"):
        memory.get(cls, "a")


# -- reserved names and hooks ------------------------------------------------------------------


@pytest.mark.parametrize("name", RESERVED + HOOKS)
def test_reserved_names_are_no_fields(name: str) -> None:
    """A field that shadows what every agent has is refused when the class is defined."""
    with pytest.raises(AgentDefinitionError, match=name):
        define(fields={name: (int, 0)})


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_names_are_not_redefined(name: str) -> None:
    """Neither may a method or a property take such a name, not even by way of a mixin."""
    mine = property(lambda _: "mine")
    mixin = type("Mixin", (), {name: mine})

    with pytest.raises(AgentDefinitionError, match=name):
        define_with(name, mine)
    with pytest.raises(AgentDefinitionError, match=name):
        define(base=(mixin, Agent))


@pytest.mark.parametrize("name", ["id", "checkpoint"])
def test_reserved_names_are_no_fields_of_mixins(name: str) -> None:
    """A model that is mixed in brings no such field either."""
    mixin: Any = create_model("Mixin", **cast("dict[str, Any]", {name: (int, 0)}))

    with pytest.raises(AgentDefinitionError, match=name):
        define(base=(mixin, Agent))


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_are_not_async(name: str) -> None:
    """An async hook would never be awaited: it is refused when the class is defined."""

    async def hook(self: Agent) -> None: ...

    with pytest.raises(AgentDefinitionError, match=name):
        define_with(name, hook)


def test_configuration_that_restoring_relies_on() -> None:
    """Assignments are validated; infinities and bytes survive their JSON form."""
    assert Agent.model_config == ConfigDict(
        validate_assignment=True,
        ser_json_inf_nan="strings",
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )


def test_an_agent_object_without_a_runtime_has_no_ref() -> None:
    """What only a runtime can give is an error that says so, not a wrong answer."""
    counter = Counter(count=3)

    assert counter.count == 3
    for name in RESERVED:
        with pytest.raises(AttributeError, match=r"runtime\.get"):
            getattr(counter, name)


def test_an_agent_knows_its_place(memory: Runtime) -> None:
    """In a turn an agent has its key, its reference and its runtime; the key can't be set."""

    class Rooted(Agent):
        """Tells where it is."""

        def place(self) -> tuple[str, object, object]:
            """Return what is asked for."""
            return self.id, self.ref, self.runtime

        def move(self) -> None:
            """Try to take another key."""
            self.id = "elsewhere"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    ref = memory.get(Rooted, "here", partition="p")

    assert ref.ask(Rooted.place) == ("here", ref, memory)
    with pytest.raises((AttributeError, ValueError)):
        ref.ask(Rooted.move)
    assert ref.ask(Rooted.place)[0] == "here"


# -- initial state -----------------------------------------------------------------------------


class Account(Agent):
    """Cannot begin without an owner."""

    owner: str
    balance: int = 0

    def show(self) -> tuple[str, int]:
        """Return both fields."""
        return self.owner, self.balance


def test_initial_values_are_validated(memory: Runtime) -> None:
    """``initial`` gives fields their first values, as their types have them."""
    account = memory.get(Account, "a", initial={"owner": "Ann", "balance": "5"})

    assert account.ask(Account.show) == ("Ann", 5)


@pytest.mark.parametrize(
    "initial", [None, {}, {"owner": 3.5}, {"owner": "Ann", "nonsense": 1}, {"balance": 1}], ids=str
)
def test_a_fresh_agent_needs_initial_values_that_fit(
    memory: Runtime, initial: dict[str, Any] | None
) -> None:
    """A fresh agent without what its class requires is refused; a later call can do better."""
    with pytest.raises(InvalidStateError, match="initial"):
        memory.get(Account, "a", initial=initial).ask(Account.show)

    assert memory.get(Account, "a", initial={"owner": "Ann"}).ask(Account.show) == ("Ann", 0)
