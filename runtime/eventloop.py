"""Which event loop the calling thread runs, at a tenth of the cost of asking for the task."""

from __future__ import annotations

import asyncio

__all__ = ["current_loop", "on_event_loop"]


current_loop = asyncio._get_running_loop  # noqa: SLF001 - documented for event loops' use
"""Return the event loop that runs on this thread, None if none does."""


def on_event_loop() -> bool:
    """Whether blocking here would block an event loop."""
    return current_loop() is not None
