"""What can answer for the assistant: simple rules, or any server with OpenAI's chat protocol."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import urllib.request
from typing import TYPE_CHECKING, Any

from torpor.conversation import Message, from_openai, openai_messages, openai_tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.conversation import Tool

__all__ = ["ModelError", "OpenAICompatible", "Rules"]


class ModelError(Exception):
    """The model gave no answer. Nothing is wrong with the conversation: try again."""


class Rules:
    """Stands in for a model, offline: it remembers your name and what you said before."""

    async def reply(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """Answer by rule."""
        del tools
        *before, now = [message.text for message in messages if message.role == "user"]
        names = re.findall(r"my name is (\w+)", "\n".join([*before, now]), re.IGNORECASE)
        if names and "my name" in now.lower():
            return f"Your name is {names[-1]}."
        return f"Before that you said: {before[-1]}" if before else "Hello! What is your name?"


class OpenAICompatible:
    """A model behind HTTP. The server's key, if it wants one, is read from OPENAI_API_KEY."""

    def __init__(self, url: str, model: str) -> None:
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model = model

    async def reply(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
        """Ask the server."""
        asked: dict[str, Any] = {"model": self._model, "messages": openai_messages(messages)}
        if tools:
            asked["tools"] = openai_tools(tools)
        try:
            return from_openai(await asyncio.to_thread(self._post, asked))
        except (OSError, http.client.HTTPException, LookupError, TypeError, ValueError) as error:
            msg = f"no answer from {self._url}: {error!r}"
            raise ModelError(msg) from error

    def _post(self, asked: dict[str, Any]) -> Any:
        body = json.dumps(asked).encode()
        headers = {"Content-Type": "application/json"}
        if key := "".join(os.environ.get("OPENAI_API_KEY", "").split()):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, body, headers)  # noqa: S310 - the user's own
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return json.load(response)["choices"][0]["message"]
