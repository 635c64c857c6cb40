"""What is said in a conversation, and what can answer it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.conversation.tools import Tool

__all__ = ["Message", "Model", "ToolCall"]


class ToolCall(BaseModel):
    """A model's wish to have a tool run. ``id`` is the model's own, unique in its message."""

    id: str
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any])


class Message(BaseModel):
    """One message. ``content`` is text, or parts in the form that the model takes them.

    ``tool_calls`` belong to the assistant's messages; ``tool_call_id`` and ``is_error`` to
    those of a tool, which answer one of these calls.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] = ""
    tool_calls: list[ToolCall] = Field(default_factory=list[ToolCall])
    tool_call_id: str | None = None
    is_error: bool = False

    @property
    def text(self) -> str:
        """The text of ``content``, parts without text left out."""
        if isinstance(self.content, str):
            return self.content
        return "".join(str(part.get("text", "")) for part in self.content)

    def document(self) -> dict[str, Any]:
        """Return the message as plain JSON data, without what has its default."""
        return {"content": ""} | self.model_dump(mode="json", exclude_defaults=True)


class Model(Protocol):
    """Whatever can go on with a conversation: a wrapper of a provider's client, or rules."""

    async def reply(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Message | str:
        """Return the assistant's next message: text, or calls of ``tools``, or both.

        Called inside a turn of the agent, which takes no other message meanwhile; bring a
        timeout of your own. What it raises ends the run as failed; the user's message is kept.
        """
        ...
