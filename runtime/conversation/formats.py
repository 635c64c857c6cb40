"""Messages and tools in the forms of OpenAI's and Anthropic's APIs, as plain dicts.

For a ``Model`` of your own around a client of either. No client is imported.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from torpor.conversation.messages import Message, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torpor.conversation.tools import Tool

__all__ = [
    "anthropic_messages",
    "anthropic_tools",
    "from_anthropic",
    "from_openai",
    "openai_messages",
    "openai_tools",
]


def openai_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return ``messages`` as the chat completions API takes them."""
    return [_openai_message(message) for message in messages]


def openai_tools(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """Return ``tools`` as the chat completions API takes them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            },
        }
        for tool in tools
    ]


def from_openai(message: Mapping[str, Any]) -> Message:
    """Return the reply that ``choices[0].message`` holds.

    Arguments that are no JSON object become arguments that no tool takes, so that the model is
    told. Raises ``KeyError`` and pydantic's ``ValidationError`` for what is no such message.
    """
    calls = [
        ToolCall(
            id=call["id"],
            name=call["function"]["name"],
            arguments=_arguments(call["function"]["arguments"]),
        )
        for call in message.get("tool_calls") or ()
    ]
    return Message(role="assistant", content=message.get("content") or "", tool_calls=calls)


def anthropic_messages(messages: Iterable[Message]) -> tuple[str, list[dict[str, Any]]]:
    """Return the system prompt and ``messages`` as the messages API takes them.

    Results of tools that follow each other are one message of the user's, as it demands.
    """
    system: list[str] = []
    converted: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    for message in messages:
        if message.role == "system":
            system.append(message.text)
        elif message.role == "tool":
            if results is None:
                results = []
                converted.append({"role": "user", "content": results})
            results.append(
                {
                    "type": "tool_result",
                    "tool_use_id": message.tool_call_id,
                    "content": message.content,
                    "is_error": message.is_error,
                }
            )
        else:
            results = None
            converted.append({"role": message.role, "content": _anthropic_content(message)})
    return "\n\n".join(system), converted


def anthropic_tools(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """Return ``tools`` as the messages API takes them."""
    return [
        {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
        for tool in tools
    ]


def from_anthropic(content: Iterable[Mapping[str, Any]]) -> Message:
    """Return the reply that a response's ``content`` blocks hold; others than these are dropped.

    ``text`` becomes the content, ``tool_use`` a tool call.
    """
    blocks = list(content)
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    calls = [
        ToolCall(id=block["id"], name=block["name"], arguments=block["input"])
        for block in blocks
        if block["type"] == "tool_use"
    ]
    return Message(role="assistant", content=text, tool_calls=calls)


def _openai_message(message: Message) -> dict[str, Any]:
    converted: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_call_id is not None:
        converted["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        converted["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return converted


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        return {"not a JSON object": text}
    return cast("dict[str, Any]", arguments)


def _anthropic_content(message: Message) -> str | list[dict[str, Any]]:
    if not message.tool_calls:
        return message.content
    text = [{"type": "text", "text": message.text}] if message.text else []
    calls: list[dict[str, Any]] = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
        for call in message.tool_calls
    ]
    return [*text, *calls]
