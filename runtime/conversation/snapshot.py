"""What a conversation is, as one value: for people who bring their own loop."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = ["AgentSnapshot", "Todo"]


class Todo(BaseModel):
    """One thing that an agent means to do."""

    content: str
    status: Literal["pending", "in_progress", "completed"] = "pending"


class AgentSnapshot(BaseModel):
    """The state of one conversation. Everything in it is plain JSON data.

    ``offset`` counts the older messages that were not loaded: ``messages[0]`` is message number
    ``offset``. ``rev`` is the stored revision that this value was loaded from or saved as. None
    (one made by hand) overwrites whatever is stored, 0 only creates, n replaces exactly that.
    """

    messages: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    todos: list[Todo] = Field(default_factory=list[Todo])
    current_interrupt: dict[str, Any] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])
    scratchpad: dict[str, Any] = Field(default_factory=dict[str, Any])
    offset: int = Field(default=0, ge=0)
    rev: int | None = Field(default=None, ge=0)
