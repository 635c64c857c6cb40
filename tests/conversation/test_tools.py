"""Tools as typed functions."""

from __future__ import annotations

import asyncio
import threading
from datetime import date
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from torpor import AgentDefinitionError
from torpor.conversation import ConversationAgent, tool


class Item(BaseModel):
    """A thing."""

    name: str
    count: int = 1


def run(made: Any, **arguments: Any) -> str:
    """Run a tool outside of any agent."""
    result: str = asyncio.run(made.run(None, arguments))
    return result


def test_arguments_are_converted() -> None:
    """A tool gets what its annotations say, made of the JSON that the model gave."""

    @tool
    def order(on: date, items: list[Item]) -> str:
        return f"{on:%d.%m.} {items[0].name} {items[0].count}"

    assert run(order, on="2026-11-21", items=[{"name": "tea"}]) == "21.11. tea 1"


def test_results_are_text_or_json() -> None:
    """Text stays as it is, anything else becomes JSON."""

    @tool
    def same(value: Any) -> Any:
        return Item(name="tea") if value is None else value

    assert [run(same, value=value) for value in ("a", 1, [True], {"b": 2}, None)] == [
        "a",
        "1",
        "[true]",
        '{"b":2}',
        '{"name":"tea","count":1}',
    ]


def test_descriptions_reach_the_schema() -> None:
    """An annotation's own description is part of what the model is told."""

    @tool
    def greet(who: Annotated[str, Field(description="the first name")]) -> str:
        """Say hello."""
        return who

    assert greet.name == "greet"
    assert greet.description == "Say hello."
    assert greet.parameters["properties"]["who"]["description"] == "the first name"


def test_names_of_pydantic_are_free() -> None:
    """A parameter may be called like a method of pydantic's models."""

    @tool
    def search(copy: bool, schema: str = "x", model_config: int = 1) -> str:  # noqa: FBT001
        return f"{copy} {schema} {model_config}"

    assert run(search, copy=True, schema="s") == "True s 1"
    assert list(search.parameters["properties"]) == ["copy", "schema", "model_config"]


def test_the_agent_is_hidden_from_the_model() -> None:
    """A parameter called agent is no argument, whatever its annotation."""

    @tool
    def who(agent: ConversationAgent, loud: bool = False) -> str:  # noqa: FBT001, FBT002
        return f"{agent} {loud}"

    assert list(who.parameters["properties"]) == ["loud"]
    assert who.refusal({"agent": 1}) is not None
    assert run(who) == "None False"


def test_plain_functions_run_beside_the_loop() -> None:
    """A plain function that blocks does not hold up the event loop."""

    @tool
    def where() -> str:
        return threading.current_thread().name

    assert run(where) != threading.current_thread().name


def star(*things: int) -> None:
    """Take any number."""


def stars(**things: int) -> None:
    """Take any names."""


def bare(thing: int) -> None:
    """Take anything."""


del bare.__annotations__["thing"]


def positional(thing: int, /) -> None:
    """Take one without a name."""


def lost(thing: int) -> None:
    """Take what nobody knows."""


lost.__annotations__["thing"] = "Missing"


@pytest.mark.parametrize(
    "function",
    [star, stars, bare, positional, lost],
    ids=["star", "stars", "bare", "positional", "lost"],
)
def test_functions_without_a_schema_are_refused(function: Any) -> None:
    """What cannot be described to a model is refused when the tool is made."""
    with pytest.raises(AgentDefinitionError, match=function.__name__):
        tool(function)
