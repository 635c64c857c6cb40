"""Messages and tools in the forms of two widespread APIs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversation.kit import call, price, refund
from torpor.conversation import (
    Message,
    anthropic_messages,
    anthropic_tools,
    from_anthropic,
    from_openai,
    openai_messages,
    openai_tools,
)

TALK = [
    Message(role="system", content="Be kind."),
    Message(role="user", content="How much?"),
    Message(
        role="assistant",
        content="Let me see.",
        tool_calls=[call("price", item="tea"), call("price", item="cake")],
    ),
    Message(role="tool", content="3", tool_call_id="price-tea"),
    Message(role="tool", content="no cake", tool_call_id="price-cake", is_error=True),
    Message(role="assistant", content="3"),
]


def test_openai_messages() -> None:
    """Each message has the form that chat completions takes."""
    system, user, wanted, result, _, last = openai_messages(TALK)

    assert system == {"role": "system", "content": "Be kind."}
    assert user == {"role": "user", "content": "How much?"}
    assert wanted["tool_calls"][0] == {
        "id": "price-tea",
        "type": "function",
        "function": {"name": "price", "arguments": '{"item": "tea"}'},
    }
    assert result == {"role": "tool", "content": "3", "tool_call_id": "price-tea"}
    assert last == {"role": "assistant", "content": "3"}


def test_openai_replies_come_back() -> None:
    """What goes out as a reply comes back as the same message."""
    for message in (TALK[2], TALK[5]):
        [converted] = openai_messages([message])
        assert from_openai(converted) == message
    assert from_openai({"content": None}) == Message(role="assistant")


@pytest.mark.parametrize("text", ["{", "[1]", "7"])
def test_arguments_that_are_none_are_told_to_the_model(text: str) -> None:
    """Arguments that are no JSON object fit no tool."""
    function = {"name": "price", "arguments": text}
    message = from_openai({"tool_calls": [{"id": "1", "function": function}]})

    refusal = price.refusal(message.tool_calls[0].arguments)
    assert refusal is not None
    assert "not a JSON object" in refusal


def test_anthropic_messages() -> None:
    """System text is apart, results that follow each other are one message."""
    system, (user, wanted, results, last) = anthropic_messages(TALK)

    assert system == "Be kind."
    assert user == {"role": "user", "content": "How much?"}
    assert wanted["content"][:2] == [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "price-tea", "name": "price", "input": {"item": "tea"}},
    ]
    assert (results["role"], len(results["content"])) == ("user", 2)
    assert results["content"][1] == {
        "type": "tool_result",
        "tool_use_id": "price-cake",
        "content": "no cake",
        "is_error": True,
    }
    assert last == {"role": "assistant", "content": "3"}


def test_anthropic_replies_come_back() -> None:
    """What goes out as a reply comes back as the same message."""
    _, [converted] = anthropic_messages([TALK[2]])

    assert from_anthropic(converted["content"]) == TALK[2]
    assert from_anthropic([{"type": "thinking"}, {"type": "text", "text": "3"}]) == TALK[5]


@pytest.mark.parametrize(
    ("convert", "key"), [(openai_tools, "parameters"), (anthropic_tools, "input_schema")]
)
def test_tools_are_described(convert: Any, key: str) -> None:
    """Name, docstring and annotations of a function are what the model is told."""
    [converted] = convert([refund])
    described = converted.get("function", converted)

    assert (described["name"], described["description"]) == ("refund", "Pay back.")
    schema = described[key]
    assert schema["properties"]["order"]["type"] == "integer"
    assert schema["properties"]["amount"] == {"default": 1.0, "title": "amount", "type": "number"}
    assert schema["required"] == ["order"]
    assert schema["additionalProperties"] is False
