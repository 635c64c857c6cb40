"""Agents of plain values: what did not change is not encoded, and whatever changed is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import Field, PlainSerializer, field_serializer

from torpor import Agent, Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor import AgentRef


class Plain(Agent):
    """Has fields of plain values only."""

    number: float = 0.0
    name: str | None = None

    def read(self) -> float:
        """Change nothing."""
        return self.number

    def put(self, number: float) -> None:
        """Change one field."""
        self.number = number

    def smuggle(self, value: Any) -> None:
        """Put something in place of a plain value, past validation."""
        vars(self)["name"] = value

    def fill(self, text: str) -> None:
        """Change what was smuggled in."""
        smuggled: Any = self.name
        smuggled.append(text)

    def fail(self, number: float) -> None:
        """Change a field, then raise."""
        self.number = number
        raise LookupError


class Pair(Agent):
    """Has two fields of one type."""

    first: int = 1
    second: int = 2

    def read(self) -> tuple[int, int]:
        """Change nothing."""
        return self.first, self.second

    def swap(self) -> None:
        """Delete both, and set them in the other order, each to what the other was."""
        first, second = self.first, self.second
        del self.first, self.second
        self.second = first
        self.first = second


class Tracked(Plain, track_commands=True):
    """Journals its commands."""

    def written(self) -> int:
        """Return how many entries the journal has."""
        return self.thread.rev


class Hashed(Agent):
    """Has a field whose stored form is its class's own."""

    number: int = 0
    _factor: int = 1

    @field_serializer("number")
    def scale(self, number: int) -> int:
        """Store more than the field says."""
        return number * self._factor

    def turn_up(self) -> None:
        """Change no field, but what is stored."""
        self._factor = 2

    def grow(self) -> None:
        """Change the field."""
        self.number += 1


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """Return a runtime on nothing but memory."""
    with Runtime("memory:") as runtime:
        yield runtime


def rev(agent: AgentRef[Any]) -> int | None:
    """Return the agent's durable revision."""
    return agent.status().rev


def is_encoded_next(agent: AgentRef[Any], runtime: Runtime) -> bool:
    """Whether the agent's next unchanged turn has to be encoded."""
    return runtime.manager.table[agent.address].seen is None


def test_a_turn_that_reads_is_not_encoded_again(runtime: Runtime) -> None:
    """The values that were encoded last are remembered until one is another object."""
    agent = runtime.get(Plain, "a")
    agent.ask(Plain.put, 1.5)
    assert is_encoded_next(agent, runtime)

    agent.ask(Plain.read)

    assert not is_encoded_next(agent, runtime)
    assert agent.ask(Plain.read) == 1.5
    assert rev(agent) == 1


@pytest.mark.parametrize(("before", "after"), [(0.0, -0.0), (1.0, 2.0)])
def test_every_other_value_is_saved(runtime: Runtime, before: float, after: float) -> None:
    """Also one that is equal to the one before, and stored in another form."""
    agent = runtime.get(Plain, "a")
    agent.ask(Plain.put, before)
    agent.ask(Plain.read)
    saved = rev(agent) or 0

    agent.ask(Plain.put, after)
    agent.hibernate()

    assert str(agent.ask(Plain.read)) == str(after)
    assert rev(agent) == saved + 1


def test_what_can_change_in_itself_is_not_taken_for_plain(runtime: Runtime) -> None:
    """A list that got past validation into a field of text is looked into at each turn."""
    agent = runtime.get(Plain, "a")
    values: list[str] = []
    with pytest.raises(Exception, match="string"):  # it could not be thawed again
        agent.ask(Plain.smuggle, values)
    agent.ask(Plain.read)

    assert agent.ask(Plain.read) == 0.0
    assert rev(agent) == 0


def test_fields_that_were_deleted_are_not_told_by_their_order(runtime: Runtime) -> None:
    """Set again they come in another order, and the same values are another state."""
    agent = runtime.get(Pair, "a")
    for _ in range(2):
        agent.ask(Pair.read)

    agent.ask(Pair.swap)
    agent.hibernate()

    assert agent.ask(Pair.read) == (2, 1)


def test_an_agent_that_lives_in_no_runtime_is_a_model_like_any_other() -> None:
    """A field can be deleted from it too."""
    pair = Pair()

    del pair.first

    assert not hasattr(pair, "first")


def test_a_rollback_after_turns_that_only_read(runtime: Runtime) -> None:
    """A failed turn leaves the values of before, also if no turn since was encoded."""
    agent = runtime.get(Plain, "a")
    agent.ask(Plain.put, 1.5)
    agent.ask(Plain.read)
    agent.ask(Plain.read)

    with pytest.raises(LookupError):
        agent.ask(Plain.fail, 9.0)

    assert agent.ask(Plain.read) == 1.5
    agent.ask(Plain.put, 2.5)
    agent.hibernate()
    assert agent.ask(Plain.read) == 2.5


def test_tracked_commands_are_journalled_though_nothing_changes(runtime: Runtime) -> None:
    """Each command of a class that tracks them has its two entries."""
    agent = runtime.get(Tracked, "a")
    for _ in range(3):
        agent.ask(Tracked.read)

    assert is_encoded_next(agent, runtime)
    assert agent.ask(Tracked.written) == 7  # the last one's end is still to come


def test_a_class_that_serializes_by_itself_is_encoded_each_time(runtime: Runtime) -> None:
    """Its stored form may change while its fields are the same objects."""
    agent = runtime.get(Hashed, "a")
    agent.ask(Hashed.grow)

    agent.ask(Hashed.turn_up)

    assert rev(agent) == 2


@pytest.mark.parametrize("annotation", [int, int | None, str | float], ids=str)
def test_fields_of_plain_values(annotation: Any) -> None:
    """Plain values, and alternatives of them."""
    assert made_of(annotation).agent_spec.scalar


@pytest.mark.parametrize(
    "annotation",
    [
        list[int],
        dict[str, int],
        Any,
        Annotated[int, PlainSerializer(str)],
        Annotated[int, Field(gt=0)],
    ],
    ids=str,
)
def test_fields_of_other_values(annotation: Any) -> None:
    """What can change in itself, and what has rules of its own."""
    assert not made_of(annotation).agent_spec.scalar


def made_of(annotation: Any) -> type[Agent]:
    """Return a class of agents with one such field."""
    namespace = {"__annotations__": {"field": annotation}, "field": None, "__module__": __name__}
    return type("Made", (Agent,), namespace)
