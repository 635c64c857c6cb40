"""The agents and the data of the benchmarks: one int, one KB with nested parts, a long thread."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field

from torpor import Agent

__all__ = ["KILOBYTE", "Counter", "Diary", "Profile"]

KILOBYTE: dict[str, Any] = {
    "name": "Grace Brewster Hopper",
    "email": "grace.hopper@example.org",
    "plan": "professional",
    "active": True,
    "balance": 1234.56,
    "tags": [f"interest {number}" for number in range(12)],
    "visits": {f"2025-{month:02}": month * 7 for month in range(1, 13)},
    "messages": [
        {"role": "user", "text": "What is the shortest way from the station to the harbour?"},
        {"role": "assistant", "text": "Along the canal: it takes about twenty minutes on foot."},
        {"role": "user", "text": "And with the tram, if it rains as it did the other day?"},
        {"role": "assistant", "text": "Line 4 goes every ten minutes; leave at the fish market."},
    ],
}
"""The fields of a ``Profile`` beside ``count``, as plain data."""


class Counter(Agent):
    """One int of state."""

    count: int = 0

    def read(self) -> int:
        """Return the count; nothing changes."""
        return self.count

    async def aread(self) -> int:
        """Return the count from an async handler."""
        return self.count

    async def nap(self) -> int:
        """Await a tenth of a second."""
        await asyncio.sleep(0.1)
        return self.count

    def add(self) -> int:
        """Change the state."""
        self.count += 1
        return self.count


class Profile(Agent):
    """One KB of state."""

    count: int = 0
    name: str = KILOBYTE["name"]
    email: str = KILOBYTE["email"]
    plan: str = KILOBYTE["plan"]
    active: bool = KILOBYTE["active"]
    balance: float = KILOBYTE["balance"]
    tags: list[str] = Field(default_factory=KILOBYTE["tags"].copy)
    visits: dict[str, int] = Field(default_factory=KILOBYTE["visits"].copy)
    messages: list[dict[str, str]] = Field(default_factory=lambda: _copies(KILOBYTE["messages"]))

    def read(self) -> int:
        """Return the count; nothing changes."""
        return self.count

    def add(self) -> int:
        """Change the state."""
        self.count += 1
        return self.count

    def amend(self, text: str) -> None:
        """Change something deep inside the state."""
        self.messages[0]["text"] = text

    def first(self) -> str:
        """Return what ``amend`` has set."""
        return self.messages[0]["text"]


class Diary(Agent):
    """Keeps pages in its thread, and one KB in its state."""

    text: str = "x" * 1000
    pages: int = 0

    def write(self, count: int) -> int:
        """Append so many pages; return how many there ever were."""
        for _ in range(count):
            self.thread.append("page", {"number": self.pages})
            self.pages += 1
        return self.pages

    def forget(self) -> int:
        """Remove the oldest page; return how many are left."""
        self.thread.trim(self.thread.start + 1)
        return len(self.thread)

    def read(self) -> int:
        """Return how many pages there ever were; the thread is not touched."""
        return self.pages


def _copies(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [message.copy() for message in messages]
