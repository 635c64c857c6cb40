"""What these tests share: models that follow a script, a shop with tools, and what happened."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from torpor import AgentEvent
from torpor.conversation import ConversationAgent, Message, ToolCall, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor import Runtime
    from torpor.conversation import Tool

__all__ = ["PATIENCE", "Gate", "Script", "Shop", "Watch", "call", "calls", "effects", "entries"]

PATIENCE = 20.0
"""Seconds after which a test stops waiting for what should have happened long ago."""

effects: list[str] = []
"""What the tools of ``Shop`` did, in this process."""


def call(tool_name: str, **arguments: Any) -> ToolCall:
    """Return a model's wish to have a tool run; its id is made of both."""
    values = "-".join(str(value) for value in arguments.values())
    return ToolCall(id=f"{tool_name}-{values}", name=tool_name, arguments=arguments)


def calls(*wanted: ToolCall) -> Message:
    """Return a reply that wants tools to run."""
    return Message(role="assistant", tool_calls=list(wanted))


class Script:
    """A model that gives its replies in order, then repeats the last message it was shown.

    A reply may be an error to raise, or a function of the messages. ``seen`` keeps what it was
    shown each time.
    """

    def __init__(
        self, *replies: Message | str | Exception | Callable[[Sequence[Message]], Message | str]
    ) -> None:
        self.replies = list(replies)
        self.seen: list[list[Message]] = []
        self.tools: list[str] = []

    async def reply(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Message | str:
        """Give the next reply."""
        await asyncio.sleep(0)
        self.seen.append(list(messages))
        self.tools = [tool.name for tool in tools]
        reply = self.replies.pop(0) if self.replies else f"You said: {messages[-1].text}"
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Message | str) else reply(messages)

    def texts(self, n: int = -1) -> list[str]:
        """Return the texts that it was shown the ``n``-th time, without the instructions."""
        return [message.text for message in self.seen[n] if message.role != "system"]


class Gate:
    """A model or tool that waits until it is let go."""

    def __init__(self, answer: str = "done") -> None:
        self.answer = answer
        self.entered = threading.Event()
        self._open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def reply(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """Wait, then answer."""
        del messages, tools
        return await self.pass_through()

    async def pass_through(self) -> str:
        """Wait."""
        opened = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), opened))
        self.entered.set()
        if not self._open:
            await opened.wait()
        return self.answer

    def open(self) -> None:
        """Let go whoever waits, and whoever comes."""
        self._open = True
        for loop, opened in self._waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(opened.set)


class Watch:
    """The events of a runtime, in order."""

    def __init__(self, runtime: Runtime, *kinds: type[AgentEvent]) -> None:
        self.events: list[AgentEvent] = []
        self._kinds = kinds
        self._changed = threading.Condition()
        runtime.listen(self._note)

    def _note(self, event: AgentEvent) -> None:
        if isinstance(event, self._kinds or AgentEvent):
            with self._changed:
                self.events.append(event)
                self._changed.notify_all()

    def wait_for(self, kind: type[AgentEvent], count: int = 1) -> list[AgentEvent]:
        """Wait until there were ``count`` events of ``kind``; return them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind)) >= count, PATIENCE)
            return self.of(kind)

    def of(self, kind: type[AgentEvent]) -> list[AgentEvent]:
        """Return the events of ``kind`` so far."""
        return [event for event in self.events if isinstance(event, kind)]


@tool
async def price(item: str) -> int:
    """Return what an item costs."""
    await asyncio.sleep(0)
    effects.append(f"price {item}")
    return len(item)


@tool(needs_approval=True, note="Money leaves the house.")
def refund(order: int, amount: float = 1.0) -> dict[str, Any]:
    """Pay back."""
    effects.append(f"refund {order} {amount}")
    return {"paid": amount}


@tool(needs_approval=lambda arguments: arguments["count"] > 10, expires_after=3600)
def ship(count: int) -> str:
    """Ship so many; more than ten need approval."""
    effects.append(f"ship {count}")
    return f"shipped {count}"


@tool(once=True)
def charge(order: int) -> str:
    """Charge the customer: at most once, without approval."""
    effects.append(f"charge {order}")
    return "charged"


@tool
def fail(reason: str) -> None:
    """Fail."""
    effects.append(f"fail {reason}")
    raise LookupError(reason)


@tool
def plan(agent: ConversationAgent, thing: str) -> str:
    """Keep a thing in the agent's scratchpad."""
    agent.scratchpad[thing] = len(agent.scratchpad)
    return "kept"


class Shop(ConversationAgent):
    """A clerk with tools, some of which need approval. Tests set its model."""

    approvals_may_be_lost: ClassVar[bool] = True  # these tests run in memory too
    model = Script()
    tools = (price, refund, ship, charge, fail, plan)
    instructions = "You are a clerk."

    greeting: str = "hello"


def entries(runtime: Runtime, *kinds: str) -> list[tuple[str, Any]]:
    """Return kind and payload of what the journal has of some kinds."""
    copy = runtime.thaw(Shop, "ada")
    assert copy is not None
    return [(e.kind, e.payload) for e in copy.thread.entries(kinds=kinds)]
