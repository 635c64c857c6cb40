"""Conversations: a checkpointer for loops of your own."""

from __future__ import annotations

from torpor.conversation.checkpointer import Checkpointer, SnapshotInfo
from torpor.conversation.snapshot import AgentSnapshot, Todo

__all__ = ["AgentSnapshot", "Checkpointer", "SnapshotInfo", "Todo"]
