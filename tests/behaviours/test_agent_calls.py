"""Which methods can be called by message, and what proxies offer."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import pytest

from tests.behaviours.kit import Counter
from torpor import (
    Agent,
    Runtime,
    UnknownMethodError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


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


def test_calls_are_dispatched_on_the_class_of_the_agent(memory: Runtime) -> None:
    """A method named on a base runs as the agent's own class has it."""
    dog = memory.get(Dog, "rex")

    assert dog.ask(Animal.speak) == "…wuff"
    assert dog.ask(Dog.speak, 2) == "……wuffwuff"
    assert memory.get(Animal, "rex").ask(Animal.speak) == "…"


def test_methods_of_mixins_can_be_called(memory: Runtime) -> None:
    """A handler may come from a plain class that is mixed in."""

    class Greeting:
        """Has a handler and no fields."""

        def greet(self, name: str) -> str:
            """Greet."""
            return f"Hello {name}"

    class Host(Greeting, Agent):
        """Greets."""

    assert memory.get(Host, "a").ask(Host.greet, "you") == "Hello you"
    assert memory.get(Host, "a").ask(Greeting.greet, "me") == "Hello me"


def test_wrapped_methods_can_be_called(memory: Runtime) -> None:
    """A decorator that keeps the name of what it wraps is no obstacle."""

    def twice(method: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(method)
        def wrapper(*args: Any, **kwargs: Any) -> int:
            method(*args, **kwargs)
            return method(*args, **kwargs)

        return wrapper

    class Doubled(Counter):
        """Adds twice."""

        add = twice(Counter.add)

    assert memory.get(Doubled, "a").ask(Doubled.add, 2) == 4


def test_generic_agents_validate_what_they_hold(memory: Runtime) -> None:
    """Each parametrisation of a generic class is a kind of its own, with its own field types."""

    class Box(Agent, Generic[T]):
        """Holds one thing."""

        item: T | None = None

        def put(self, item: T) -> None:
            """Take ``item``."""
            self.item = item

        def take(self) -> T | None:
            """Return the item."""
            return self.item

    numbers = memory.get(Box[int], "a")
    words = memory.get(Box[str], "a")

    assert (numbers.address, words.address) == ("box_int/a", "box_str/a")
    numbers.ask(Box[int].put, 3)
    words.ask(Box[str].put, "three")
    with pytest.raises(ValueError, match="valid integer"):
        numbers.ask(Box[int].put, cast("int", "four"))
    numbers.hibernate()
    assert numbers.ask(Box[int].take) == 3
    assert words.ask(Box[str].take) == "three"


class Other(Agent):
    """Has nothing to do with animals."""

    def speak(self) -> str:
        """Talk."""
        return "hello"


NO_COMMANDS: dict[str, Any] = {
    "a builtin": len,
    "a lambda": lambda _: "anything",  # pyright: ignore[reportUnknownLambdaType]
    "a private method": Animal._sound,  # pyright: ignore[reportPrivateUsage]
    "a hook": Animal.on_start,
    "another hook": Animal.checkpoint,
    "a hook of the class": Animal.migrate,
    "a method of pydantic": Animal.model_dump,
    "a class method of pydantic": Animal.model_validate,
    "a special method": Animal.__init__,
    "a property": Animal.id,
    "the class": Animal,
    "a bound method": Animal().speak,
    "a method of another class": Other.speak,
    "a method of a subclass": Dog.speak,
    "a partial": functools.partial(Animal.speak, times=2),
    "a name": "speak",
    "a name of a field": "legs",
    "nothing": None,
    "a list": ["speak"],
}


@pytest.mark.parametrize("what", NO_COMMANDS)
def test_what_is_no_command_is_refused(memory: Runtime, what: str) -> None:
    """Only public methods of the agent's class, themselves, can be called by message."""
    animal = memory.get(Animal, "a")
    animal.proxy().legs.get()

    calls: list[Callable[..., Any]] = [animal.ask, animal.submit, animal.tell]
    for call in calls:
        with pytest.raises(UnknownMethodError, match="animal"):
            call(NO_COMMANDS[what])
    assert memory.stats().turns == 1


def test_static_and_class_methods_are_no_commands(memory: Runtime) -> None:
    """What takes no agent cannot be a message to one."""

    class Helpful(Agent):
        """Has helpers."""

        @staticmethod
        def helper() -> int:
            """Do nothing."""
            return 1

        @classmethod
        def maker(cls) -> int:
            """Do nothing."""
            return 2

    assert set(Helpful.agent_spec.commands) == set()
    with pytest.raises(UnknownMethodError):
        memory.get(Helpful, "a").ask(cast("Any", Helpful.helper))


# -- proxies -----------------------------------------------------------------------------------


def test_a_proxy_gives_a_future_per_call_and_per_field(memory: Runtime) -> None:
    """A proxy is pykka's style: methods and fields are futures, ``defer`` tells."""
    proxy = memory.get(Counter, "a").proxy()

    assert proxy.add(2).get() == 2
    proxy.add.defer(3)
    assert proxy.count.get() == 5
    assert proxy.notes().get() == []


def test_proxy_fields_are_read_in_turn(memory: Runtime) -> None:
    """Reading a field is a message like any other: it waits behind those sent before."""
    proxy = memory.get(Counter, "a").proxy()

    replies = [proxy.add(1) for _ in range(50)]
    count = proxy.count

    assert count.get() == 50
    assert [reply.get() for reply in replies] == list(range(1, 51))


@pytest.mark.parametrize("name", ["nonsense", "_mood", "_sound", "model_dump", "on_start", "id"])
def test_a_proxy_has_no_other_attributes(memory: Runtime, name: str) -> None:
    """Private names, hooks, pydantic's methods and what isn't there are no messages."""
    with pytest.raises(UnknownMethodError, match=name):
        getattr(memory.get(Animal, "a").proxy(), name)
    assert memory.stats().live == 0


def test_a_proxy_is_read_only(memory: Runtime) -> None:
    """A field is set by a message that says what it means, not from outside."""
    proxy = memory.get(Counter, "a").proxy()

    with pytest.raises(AttributeError, match="count"):
        proxy.count = 7  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    assert memory.get(Counter, "a").ask(Counter.read) == 0
