"""The memory of a conversation: messages in the thread, the rest in fields."""

from __future__ import annotations

from itertools import dropwhile
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field, ValidationError

from torpor.agent import Agent
from torpor.conversation.messages import Message, Model
from torpor.conversation.snapshot import AgentSnapshot, Todo
from torpor.conversation.state import Loop
from torpor.storage.errors import (
    ConversationBusyError,
    CorruptRecordError,
    InvalidArgumentsError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage import Entry

__all__ = ["Dialogue"]

MESSAGE, TOOL_RESULT, SUMMARY = "message", "tool_result", "summary"
SPOKEN = (MESSAGE, TOOL_RESULT)

SUMMARISE = (
    "Summarise the conversation so far for yourself: what the user wants, what was found out, "
    "decided and done, and what is still open. It will stand in place of the messages."
)


class Dialogue(Agent):
    """What ``ConversationAgent`` remembers, and how much of it the model is shown.

    Entries of the thread: ``message`` and ``tool_result`` (a ``Message``), ``summary``, and
    those of approvals. The model is shown the messages from ``context_start`` on, at most the
    last ``tail`` of them.
    """

    model: ClassVar[Model]
    instructions: ClassVar[str] = ""
    tail: ClassVar[int] = 100

    todos: list[Todo] = Field(default_factory=list[Todo])
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])
    scratchpad: dict[str, Any] = Field(default_factory=dict[str, Any])
    summary: str | None = None
    context_start: int = 0
    loop: Loop = Field(default_factory=Loop)

    def get_model(self) -> Model:
        """Return what answers. Default: the class attribute ``model``."""
        return type(self).model

    def get_instructions(self) -> str:
        """Return the system prompt. Default: the class attribute ``instructions``."""
        return type(self).instructions

    async def messages(self, tail: int = 100) -> list[Message]:
        """Return the last ``tail`` messages, those of tools included, oldest first."""
        return [self._message(entry) for entry in await self.thread.atail(tail, kinds=SPOKEN)]

    async def compact(
        self, *, keep: int = 20, summary: str | None = None, trim: bool = False
    ) -> str | None:
        """Put a summary in the place of all but about the last ``keep`` messages; return it.

        What is kept begins with a message of the user. The model writes the summary (see
        ``summarise``) unless it is given. Older entries stay in the thread for whoever reads
        it, or with ``trim`` are removed. None if there is nothing to summarise. Raises
        ``ConversationBusyError`` while a message is being answered.
        """
        self._require_rest()
        entries = await self.thread.atail(max(keep, 0) + self.tail, kinds=SPOKEN)
        entries = [entry for entry in entries if entry.seq >= self.context_start]
        kept = _from_user(entries[-keep:] if keep > 0 else [])
        boundary = kept[0].seq if kept else self.thread.rev
        old = [self._message(entry) for entry in entries if entry.seq < boundary]
        if not old:
            return None
        if summary is None:
            summary = await self.summarise([*self._summary_message(), *old])
        self.thread.append(SUMMARY, {"content": summary, "before": boundary})
        self.summary, self.context_start = summary, boundary
        if trim:
            self.thread.trim(boundary)
        return summary

    async def summarise(self, messages: Sequence[Message]) -> str:
        """Return a summary of ``messages``, an older summary included. Default: the model's."""
        request = Message(role="user", content=SUMMARISE)
        reply = await self.get_model().reply([*messages, request], ())
        return reply if isinstance(reply, str) else reply.text

    async def save_state(self) -> AgentSnapshot:
        """Return the conversation as a value, for a ``Checkpointer`` or another agent.

        Its messages are those that the model would be shown.
        """
        shown = [*self._summary_message(), *await self._recent()]
        interrupts = self.loop.interrupts()
        return AgentSnapshot(
            messages=[message.document() for message in shown],
            todos=[todo.model_copy() for todo in self.todos],
            current_interrupt=interrupts[0].document() if interrupts else None,
            metadata=dict(self.metadata),
            scratchpad=dict(self.scratchpad),
        )

    def load_state(self, snapshot: AgentSnapshot) -> None:
        """Go on from ``snapshot`` instead: its messages, todos, metadata and scratchpad.

        What was said before stays in the thread and is not shown to the model any more. Raises
        ``ConversationBusyError`` while a message is being answered, and
        ``InvalidArgumentsError`` for messages that are none, and for tool calls without a
        result: an approval can't be carried over to another agent.
        """
        self._require_rest()
        messages = self._valid(snapshot.messages)
        self.loop = Loop(decisions=self.loop.decisions)
        self.summary, self.context_start = None, self.thread.rev
        for message in messages:
            self._remember(message)
        self.todos = [todo.model_copy() for todo in snapshot.todos]
        self.metadata, self.scratchpad = dict(snapshot.metadata), dict(snapshot.scratchpad)

    def _remember(self, message: Message, *, entry_id: str | None = None) -> None:
        kind = TOOL_RESULT if message.role == "tool" else MESSAGE
        self.thread.append(kind, message.document(), id=entry_id)

    async def _context(self) -> list[Message]:
        """Return what the model is shown: instructions, summary, the newest messages."""
        prompt = self.get_instructions()
        system = [Message(role="system", content=prompt)] if prompt else []
        return [*system, *self._summary_message(), *await self._recent()]

    async def _recent(self) -> list[Message]:
        entries = await self.thread.atail(self.tail, kinds=SPOKEN)
        begun = [entry for entry in entries if entry.seq >= self.context_start]
        # Where the tail cuts a run in two: results without their calls mean nothing.
        whole = _from_user(begun) or dropwhile(lambda entry: entry.kind == TOOL_RESULT, begun)
        return [self._message(entry) for entry in whole]

    def _message(self, entry: Entry) -> Message:
        try:
            return Message.model_validate(entry.payload)
        except ValidationError as error:
            detail = f"entry {entry.seq} of its thread is no message: {error}"
            raise CorruptRecordError(self.ref.address, detail) from error

    def _summary_message(self) -> list[Message]:
        if self.summary is None:
            return []
        return [Message(role="system", content=f"Summary of the conversation: {self.summary}")]

    def _require_rest(self) -> None:
        if self.loop.status in {"running", "paused"}:
            raise ConversationBusyError(
                self.ref.address, [interrupt.call_id for interrupt in self.loop.interrupts()]
            )

    def _valid(self, documents: Sequence[dict[str, Any]]) -> list[Message]:
        try:
            messages = [Message.model_validate(document) for document in documents]
        except ValidationError as error:
            raise InvalidArgumentsError(self.ref.address, f"load_state(): {error}") from error
        called = {call.id for message in messages for call in message.tool_calls}
        if missing := called - {message.tool_call_id for message in messages}:
            detail = f"load_state(): no result of {', '.join(sorted(missing))}"
            raise InvalidArgumentsError(self.ref.address, detail)
        return messages


def _from_user(entries: Sequence[Entry]) -> list[Entry]:
    """Return ``entries`` from the first message of the user on."""
    for i, entry in enumerate(entries):
        said: Any = entry.payload
        if isinstance(said, dict) and cast("dict[str, Any]", said).get("role") == "user":
            return list(entries[i:])
    return []
