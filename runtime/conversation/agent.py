"""An agent that holds a conversation: a model and tools in a loop of durable steps."""

from __future__ import annotations

from typing import Any, ClassVar

from torpor.commands import command
from torpor.conversation.approvals import GuardedDialogue
from torpor.conversation.armed import arm, disarm
from torpor.conversation.events import ConversationAnswered, ConversationFailed, announce
from torpor.conversation.messages import Message, ToolCall
from torpor.conversation.state import Loop, PendingCall, Progress
from torpor.storage.errors import ApprovalNotDurableError
from torpor.storage.records import new_id

__all__ = ["ConversationAgent"]

PLAN = "torpor.conversation"
RESUME_AFTER = 60.0


class ConversationAgent(GuardedDialogue):
    """Answers messages with a model, which may call tools, until there is a final answer.

    Subclass it and set ``model``, ``tools`` and ``instructions``, or override ``get_model``,
    ``get_tools`` and ``get_instructions``: none of these is part of the saved state. Fields of
    your own are. Talk to it by ``Conversation(ref)``.

    Each step is a turn of its own: the user's message, each reply of the model, each tool's
    result is durable before the next step begins, and the agent sends itself the message for
    that. After a crash it goes on where it was, when it is thawed, or by itself within a minute
    in a ``Runtime(agents=[…])`` that names its class: the model is asked again, a tool may run
    again unless it is ``once`` or needs approval.
    """

    max_iterations: ClassVar[int] = 10

    def on_thaw(self) -> None:
        """Go on with what was interrupted. An override has to call this one."""
        if self.loop.status == "running" and not self._stopping:
            self.ref.tell(ConversationAgent.proceed)

    def say(
        self, content: str | list[dict[str, Any]], *, message_id: str | None = None
    ) -> Progress:
        """Take a message of the user; the answer comes by itself, see ``Conversation.say``.

        ``message_id``: if it is the newest message's, that one is not taken twice. Raises
        ``ConversationBusyError`` while another message is being answered or a human is waited
        for, and ``ApprovalNotDurableError`` if a tool needs approval where approvals could be
        lost.
        """
        if message_id is not None and message_id == self.loop.message_id:
            return self.loop.progress()
        self._examine()
        self._require_rest()
        self._require_durable()
        self._remember(Message(role="user", content=content), entry_id=message_id)
        self.loop = Loop(message_id=message_id, decisions=self.loop.decisions)
        self._resume()
        return self.loop.progress()

    def retry(self) -> Progress:
        """Ask the model again after it failed. Nothing happens if it did not."""
        if self.loop.status == "failed":
            self.loop.error = None
            self._resume()
        return self.loop.progress()

    async def proceed(self) -> Progress:
        """Do the next step, if there is one. Sent by the agent to itself; harmless at any time."""
        self._examine()
        if self.loop.status == "running" and not self._stopping:
            call = next((call for call in self.loop.calls if call.state == "ready"), None)
            if call is not None:
                await self._begin(call)
            elif not self.loop.calls:
                await self._ask_model()
        self._go_on()
        return self.loop.progress()

    @command(rerun=False)
    async def run_once(self, call_id: str, token: str) -> Progress:
        """Run a call that is marked as running. Sent by the agent to itself, once per run."""
        for call in self.loop.calls:
            if (call.call_id, call.state, call.token) == (call_id, "running", token):
                if disarm(self.runtime, token):
                    await self._run(call)
                break
        self._examine()
        self._go_on()
        return self.loop.progress()

    def _go_on(self) -> None:
        if self.loop.status == "running":
            self._send_next()
        self._plan()

    def _send_next(self) -> None:
        """Have the next step done in a turn of its own, or pause if there is none."""
        calls = self.loop.calls
        states = {call.state for call in calls}
        if (not states or "ready" in states) and not self._stopping:
            self.ref.tell(ConversationAgent.proceed)
        for call in calls:
            if call.state == "running":
                self.ref.tell(ConversationAgent.run_once, call.call_id, call.token)
        if states and states <= {"waiting", "unknown"}:
            self.loop.status = "paused"

    @property
    def _stopping(self) -> bool:
        """Whether the runtime stops: what has been started is ended, the rest is left for later."""
        return self.runtime.manager.stopping

    def _plan(self) -> None:
        """Plan to be woken: when a run may have been cut off, or an interrupt expires."""
        if self.ref.registration.options.durability == "none":
            return
        running = self.loop.status == "running"
        expiries = [c.expires_at for c in self.loop.calls if c.expires_at and c.state == "waiting"]
        planned = next((plan for plan in self.schedules() if plan.id == PLAN), None)
        if running:
            if planned is None or planned.every is None:
                self.schedule(ConversationAgent.proceed, every=RESUME_AFTER, id=PLAN)
        elif expiries:
            if planned is None or planned.next_at != min(expiries):
                self.schedule(ConversationAgent.proceed, at=min(expiries), id=PLAN)
        elif planned is not None:
            self.cancel_schedule(PLAN)

    async def _begin(self, call: PendingCall) -> None:
        """Run an ordinary call; mark one that runs at most once, to be run by the next turn."""
        if not call.once:
            await self._run(call)
            return
        try:
            self._require_durable()
        except ApprovalNotDurableError as error:
            self._stop_at(error)
            return
        call.state, call.token = "running", f"run_{new_id()}"
        refs = {"call_id": call.call_id, "tool_call_id": call.tool_call_id}
        self.thread.append("tool_call", {"tool_name": call.tool_name}, refs=refs)
        arm(self.runtime, call.token)

    async def _run(self, call: PendingCall) -> None:
        tool = self._tool(call.tool_name)
        if tool is None:
            self._finish(call, f"Tool '{call.tool_name}' not found", is_error=True)
            return
        try:
            result = await tool.run(self, call.tool_args)
        except Exception as error:  # noqa: BLE001 - the model is told, and may do without
            self._finish(call, f"{type(error).__name__}: {error}", is_error=True)
        else:
            self._finish(call, result)

    async def _ask_model(self) -> None:
        loop = self.loop
        if loop.iterations >= self.max_iterations:
            reply = Message(role="assistant", content=self._gave_up())
        else:
            try:
                reply = await self._reply()
            except Exception as error:  # noqa: BLE001 - whatever it is, the conversation is kept
                self._stop_at(error)
                return
        loop.iterations += 1
        self._remember(reply)
        for wanted in reply.tool_calls:
            self._take(wanted)
        if not reply.tool_calls:
            loop.status, loop.answer = "idle", reply.text
            announce(self, ConversationAnswered(self.ref.address, loop.answer))

    async def _reply(self) -> Message:
        said = await self.get_model().reply(await self._context(), self.get_tools())
        reply = Message(role="assistant", content=said) if isinstance(said, str) else said
        if reply.role != "assistant":
            msg = f"the model replied as {reply.role!r}, not as the assistant"
            raise TypeError(msg)
        if reply.tool_calls:
            self._require_durable()
        return reply

    def _stop_at(self, error: Exception) -> None:
        loop = self.loop
        loop.status, loop.error = "failed", f"{type(error).__name__}: {error}"
        self.thread.append("error", {"error": loop.error})
        announce(self, ConversationFailed(self.ref.address, loop.error))

    def _take(self, wanted: ToolCall) -> None:
        """Note a call that the model wants, or tell the model at once why it can't be."""
        tool = self._tool(wanted.name)
        refusal = "not found" if tool is None else tool.refusal(wanted.arguments)
        if tool is not None and refusal is None:
            self._new_call(tool, wanted.arguments, wanted.id)
            return
        content = f"Tool '{wanted.name}': {refusal}"
        self._remember(Message(role="tool", content=content, tool_call_id=wanted.id, is_error=True))

    def _gave_up(self) -> str:
        return f"I stopped after {self.max_iterations} steps without a final answer."
