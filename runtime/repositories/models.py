"""What the repositories keep."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = ["Container", "Image", "Message", "Session", "Stored"]


class Stored(BaseModel):
    """Base of all records. Times are seconds since the epoch; saving sets them."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    created_at: float = 0.0
    updated_at: float = 0.0


class Container(Stored):
    """A tenant, or a project: what belongs together. ``working_directory`` is its own."""

    container_id: str
    working_directory: str | None = None
    config: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])


class Image(Stored):
    """A conversation that can be gone on with: how its agent is set up, and its session.

    ``parent_image_id``: the image that it was forked from. ``agent`` and ``snapshot``: the
    saved point of an agent that it holds, if it holds one.
    """

    image_id: str
    container_id: str
    session_id: str
    name: str = "New Conversation"
    description: str | None = None
    system_prompt: str | None = None
    parent_image_id: str | None = None
    agent: str | None = None
    snapshot: str | None = None
    mcp_servers: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    metadata: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    custom_data: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])


class Session(Stored):
    """The messages of one image; they are in the record's thread, not in the record."""

    session_id: str
    image_id: str
    container_id: str


class Message(BaseModel):
    """One message of a session. ``content`` is plain JSON data; ``at``: when it was added."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    message_id: str
    role: str
    content: Any = None
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])
    at: float
