"""Conversations: agents with a model and tools, approvals, and a checkpointer without agents."""

from __future__ import annotations

from torpor.conversation.agent import ConversationAgent
from torpor.conversation.checkpointer import Checkpointer, SnapshotInfo
from torpor.conversation.client import Conversation
from torpor.conversation.events import (
    ConversationAnswered,
    ConversationFailed,
    InterruptDecided,
    InterruptRaised,
    OutcomeUnknown,
)
from torpor.conversation.formats import (
    anthropic_messages,
    anthropic_tools,
    from_anthropic,
    from_openai,
    openai_messages,
    openai_tools,
)
from torpor.conversation.inbox import Waiting, pending_interrupts
from torpor.conversation.messages import Message, Model, ToolCall
from torpor.conversation.snapshot import AgentSnapshot, Todo
from torpor.conversation.state import Decision, Interrupt, Progress
from torpor.conversation.tools import ApprovalPolicy, Tool, tool

__all__ = [
    "AgentSnapshot",
    "ApprovalPolicy",
    "Checkpointer",
    "Conversation",
    "ConversationAgent",
    "ConversationAnswered",
    "ConversationFailed",
    "Decision",
    "Interrupt",
    "InterruptDecided",
    "InterruptRaised",
    "Message",
    "Model",
    "OutcomeUnknown",
    "Progress",
    "SnapshotInfo",
    "Todo",
    "Tool",
    "ToolCall",
    "Waiting",
    "anthropic_messages",
    "anthropic_tools",
    "from_anthropic",
    "from_openai",
    "openai_messages",
    "openai_tools",
    "pending_interrupts",
    "tool",
]
