"""What can answer for the assistant: simple rules, or any server with OpenAI's chat protocol."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import urllib.request
from typing import Protocol

__all__ = ["Message", "Model", "ModelError", "OpenAICompatible", "Rules"]

Message = dict[str, str]


class ModelError(Exception):
    """The model gave no answer. Nothing is wrong with the conversation: try again."""


class Model(Protocol):
    """Whatever can go on with a conversation."""

    async def reply(self, messages: list[Message]) -> str:
        """Return the answer to the last message; each has ``role`` and ``content``.

        Raises ``ModelError``.
        """
        ...


class Rules:
    """Stands in for a model, offline: it remembers your name and what you said before."""

    async def reply(self, messages: list[Message]) -> str:
        """Answer by rule."""
        *before, now = [message["content"] for message in messages if message["role"] == "user"]
        names = re.findall(r"my name is (\w+)", "\n".join([*before, now]), re.IGNORECASE)
        if names and "my name" in now.lower():
            return f"Your name is {names[-1]}."
        return f"Before that you said: {before[-1]}" if before else "Hello! What is your name?"


class OpenAICompatible:
    """A model behind HTTP. The server's key, if it wants one, is read from OPENAI_API_KEY."""

    def __init__(self, url: str, model: str) -> None:
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model = model

    async def reply(self, messages: list[Message]) -> str:
        """Ask the server."""
        try:
            return await asyncio.to_thread(self._post, messages)
        except (OSError, http.client.HTTPException, LookupError, TypeError, ValueError) as error:
            msg = f"no answer from {self._url}: {error!r}"
            raise ModelError(msg) from error

    def _post(self, messages: list[Message]) -> str:
        body = json.dumps({"model": self._model, "messages": messages}).encode()
        headers = {"Content-Type": "application/json"}
        if key := "".join(os.environ.get("OPENAI_API_KEY", "").split()):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, body, headers)  # noqa: S310 - the user's own
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return str(json.load(response)["choices"][0]["message"]["content"])
