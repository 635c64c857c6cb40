"""A conversation as its user sees it: say something, get the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from torpor.conversation.agent import ConversationAgent
from torpor.storage.errors import ConversationBusyError, ModelFailedError

if TYPE_CHECKING:
    from torpor.conversation.state import Progress
    from torpor.ref import AgentRef

__all__ = ["Conversation"]

C = TypeVar("C", bound=ConversationAgent)


class Conversation(Generic[C]):
    """Talks to one ``ConversationAgent`` and waits for it, step by step.

    The timeout of the reference bounds each step's waiting, not the whole answer. The agent
    works on without whoever waits: after a timeout ``wait`` again. Methods that begin with
    ``a`` are for async code. Usable from any thread.
    """

    def __init__(self, ref: AgentRef[C]) -> None:
        self.ref = ref

    def say(
        self, content: str | list[dict[str, Any]], *, message_id: str | None = None
    ) -> Progress:
        """Say something and wait for the answer, or for what it needs a human for.

        What was said before is answered first. ``message_id``: your own id of the message, so
        that sending it again is harmless. Raises ``ConversationBusyError`` if a human has to
        decide first, ``ModelFailedError``, ``ApprovalNotDurableError`` and what ``ask`` raises.
        """
        while True:
            try:
                self.ref.ask(ConversationAgent.say, content, message_id=message_id)
            except ConversationBusyError:
                if self._settle().status == "paused":
                    raise
            else:
                return self.wait()

    def wait(self) -> Progress:
        """Wait until the agent has answered, or waits for a human.

        Raises ``ModelFailedError`` and what ``ask`` raises.
        """
        return self._require_answer(self._settle())

    def retry(self) -> Progress:
        """Have a message answered whose model failed. Raises as ``wait``."""
        self.ref.ask(ConversationAgent.retry)
        return self.wait()

    async def asay(
        self, content: str | list[dict[str, Any]], *, message_id: str | None = None
    ) -> Progress:
        """``say`` for async code."""
        while True:
            try:
                await self.ref.submit(ConversationAgent.say, content, message_id=message_id)
            except ConversationBusyError:
                if (await self._asettle()).status == "paused":
                    raise
            else:
                return await self.await_()

    async def await_(self) -> Progress:
        """``wait`` for async code."""
        return self._require_answer(await self._asettle())

    async def aretry(self) -> Progress:
        """``retry`` for async code."""
        await self.ref.submit(ConversationAgent.retry)
        return await self.await_()

    def _settle(self) -> Progress:
        # Each ``proceed`` does a step, or stands in line behind the one that does.
        while (progress := self.ref.ask(ConversationAgent.proceed)).status == "running":
            pass
        return progress

    async def _asettle(self) -> Progress:
        while (progress := await self.ref.submit(ConversationAgent.proceed)).status == "running":
            pass
        return progress

    def _require_answer(self, progress: Progress) -> Progress:
        if progress.status == "failed":
            raise ModelFailedError(self.ref.address, progress.error or "")
        return progress
