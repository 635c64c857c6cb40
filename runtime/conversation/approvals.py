"""Human in the loop: which tool calls wait for a human, and what humans decide about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal
from uuid import uuid4

from torpor.conversation.armed import is_armed
from torpor.conversation.dialogue import Dialogue
from torpor.conversation.events import (
    InterruptDecided,
    InterruptRaised,
    OutcomeUnknown,
    announce,
)
from torpor.conversation.messages import Message
from torpor.conversation.state import Decision, Interrupt, PendingCall, Progress
from torpor.storage.errors import (
    AlreadyDecidedError,
    ApprovalNotDurableError,
    InterruptExpiredError,
    InvalidArgumentsError,
    UnknownInterruptError,
    UnknownToolError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torpor.conversation.tools import ApprovalPolicy, Tool

__all__ = ["GuardedDialogue"]

REJECTED = "Tool execution rejected by human reviewer."
EXPIRED = "Nobody approved this tool call in time; it was not run."
UNKNOWN = "This tool call was started, but whether it finished is not known."


class GuardedDialogue(Dialogue):
    """A dialogue whose tool calls may have to wait for a human.

    ``policies`` by tool name stand in place of the tools' own. ``approvals_may_be_lost`` lets
    tools that need approval run where an approval could be lost: for tests, in memory.
    """

    tools: ClassVar[Sequence[Tool]] = ()
    policies: ClassVar[Mapping[str, ApprovalPolicy]] = {}
    approvals_may_be_lost: ClassVar[bool] = False

    def get_tools(self) -> Sequence[Tool]:
        """Return the tools that the model may call. Default: the class attribute ``tools``."""
        return type(self).tools

    def get_instructions(self) -> str:
        """Return the system prompt, which names the tools that need approval."""
        guarded = [
            f"- {tool.name}{f': {policy.note}' if policy.note else ''}"
            for tool in self.get_tools()
            if (policy := self._policy(tool)) is not None
        ]
        if not guarded:
            return super().get_instructions()
        note = "A human has to approve calls of these tools before they run:"
        return "\n".join([*filter(None, [super().get_instructions()]), note, *guarded])

    # -- what humans do -----------------------------------------------------------------------

    def pending(self) -> list[Interrupt]:
        """Return the tool calls that wait for a human, oldest first; expired ones are ended."""
        self._examine()
        self._go_on()
        return list(self.loop.interrupts())

    def accept(self, call_id: str, *, by: str) -> Progress:
        """Let the call run as it is. ``by`` is recorded: who decided, as you authenticated them.

        This and the other decisions: about one interrupt each; the agent goes on by itself. The
        same decision again changes nothing. Raises ``AlreadyDecidedError`` if it was decided
        otherwise, ``InterruptExpiredError``, ``UnknownInterruptError`` and, if the tool is
        gone, ``UnknownToolError``.
        """
        return self._decide(self._decision(call_id, "accept", by))

    def edit(
        self,
        call_id: str,
        *,
        by: str,
        tool_args: dict[str, Any] | None = None,
        tool_name: str | None = None,
    ) -> Progress:
        """Let the call run with other arguments, or have another tool run.

        Another tool that needs approval itself waits for it, as an interrupt of its own. Raises
        as ``accept``, and ``InvalidArgumentsError`` for arguments that don't fit the tool.
        """
        decision = self._decision(call_id, "edit", by)
        decision.tool_args, decision.tool_name = tool_args, tool_name
        return self._decide(decision)

    def reject(self, call_id: str, *, by: str, reason: str | None = None) -> Progress:
        """Don't run the call; the model is told ``reason``. Raises as ``accept``."""
        decision = self._decision(call_id, "reject", by)
        decision.message = reason
        return self._decide(decision)

    def respond(self, call_id: str, message: str, *, by: str) -> Progress:
        """Don't run the call; ``message`` is its result. Raises as ``accept``."""
        decision = self._decision(call_id, "respond", by)
        decision.message = message
        return self._decide(decision)

    def resolve(self, call_id: str, action: Literal["retry", "fail"], *, by: str) -> Progress:
        """Say what becomes of a call whose outcome is not known.

        ``"retry"`` runs it again: find out first what the earlier run did. ``"fail"`` tells the
        model that the outcome is not known. Raises ``UnknownInterruptError`` if the outcome of
        no such call is unknown.
        """
        self._examine()
        call = self._call(call_id, "unknown")
        self.thread.append("resolution", {"action": action, "by": by}, refs={"call_id": call_id})
        if action == "retry":
            call.state = "ready"
        else:
            self._finish(call, UNKNOWN, is_error=True)
        self._resume()
        return self.loop.progress()

    # -- for the loop -------------------------------------------------------------------------

    def _tool(self, name: str) -> Tool | None:
        return next((tool for tool in self.get_tools() if tool.name == name), None)

    def _policy(self, tool: Tool) -> ApprovalPolicy | None:
        """Return the policy of a tool that may need approval, None if it never does."""
        policy = self.policies.get(tool.name, tool.policy)
        return None if policy is None or policy.allow_auto else policy

    def _require_durable(self) -> None:
        """Raise ``ApprovalNotDurableError`` if a tool is guarded where approvals could be lost."""
        durable = (
            self.runtime.storage.durable and self.ref.registration.options.durability == "turn"
        )
        if durable or self.approvals_may_be_lost:
            return
        if guarded := [t.name for t in self.get_tools() if t.once or self._policy(t)]:
            raise ApprovalNotDurableError(self.ref.address, guarded)

    def _new_call(
        self, tool: Tool, arguments: dict[str, Any], tool_call_id: str, *, edited: bool = False
    ) -> PendingCall:
        """Note a call that is to be run, after approval if it needs one."""
        policy = self._policy(tool)
        guarded = policy is not None and policy.applies(arguments)
        now = self._now()
        expires = policy.expires_after if policy is not None else None
        call = PendingCall(
            call_id=f"call_{uuid4()}",
            tool_call_id=tool_call_id,
            tool_name=tool.name,
            tool_args=arguments,
            state="waiting" if guarded else "ready",
            once=tool.once or guarded,
            edited=edited,
            note=policy.note if policy is not None else None,
            created_at=now,
            expires_at=None if expires is None else now + expires,
        )
        self.loop.calls.append(call)
        if interrupt := call.interrupt():
            self._require_durable()
            refs = {"call_id": call.call_id, "tool_call_id": tool_call_id}
            self.thread.append("interrupt", interrupt.document(), refs=refs)
            announce(self, InterruptRaised(self.ref.address, interrupt))
        return call

    def _examine(self) -> None:
        """End what has expired, and report runs whose end will never be known."""
        now = self._now()
        for call in list(self.loop.calls):
            if call.state == "waiting" and call.expires_at is not None and call.expires_at <= now:
                self._note(Decision(call_id=call.call_id, action="expire", by=None, at=now))
                self._finish(call, EXPIRED)
                self.loop.status = "running"
            elif call.state == "running" and not is_armed(self.runtime, call.token):
                call.state = "unknown"
                interrupt = call.interrupt()
                assert interrupt is not None
                refs = {"call_id": call.call_id}
                self.thread.append("outcome_unknown", interrupt.document(), refs=refs)
                announce(self, OutcomeUnknown(self.ref.address, interrupt))

    def _finish(self, call: PendingCall, result: str, *, is_error: bool = False) -> None:
        """Give a call its result."""
        self.loop.calls.remove(call)
        if call.edited:
            result = f"(A human changed this call: {call.tool_name} {call.tool_args})\n{result}"
        self._remember(
            Message(role="tool", content=result, tool_call_id=call.tool_call_id, is_error=is_error)
        )

    def _resume(self) -> None:
        self.loop.status = "running"
        self._go_on()

    def _go_on(self) -> None:
        """Have what is left to do done in turns of its own; see ``ConversationAgent``."""
        raise NotImplementedError

    def _now(self) -> float:
        return self.runtime.manager.clock.time()

    # -- deciding -----------------------------------------------------------------------------

    def _decision(
        self, call_id: str, action: Literal["accept", "edit", "reject", "respond"], by: str
    ) -> Decision:
        if not by.strip():
            raise InvalidArgumentsError(self.ref.address, f"{action}(): by whom? by={by!r}")
        return Decision(call_id=call_id, action=action, by=by, at=self._now())

    def _decide(self, decision: Decision) -> Progress:
        self._examine()
        earlier = self.loop.decision(decision.call_id)
        if earlier is None:
            call = self._call(decision.call_id, "waiting")
            self._apply(call, decision)
            self._note(decision)
            self._resume()
        elif earlier.action == "expire":
            raise InterruptExpiredError(self.ref.address, decision.call_id)
        elif not earlier.same(decision):
            raise AlreadyDecidedError(
                self.ref.address, decision.call_id, action=earlier.action, by=earlier.by
            )
        return self.loop.progress()

    def _apply(self, call: PendingCall, decision: Decision) -> None:
        if decision.action == "reject":
            self._finish(call, decision.message or REJECTED)
        elif decision.action == "respond":
            self._finish(call, decision.message or "")
        else:
            name = decision.tool_name or call.tool_name
            tool = self._tool(name)
            if tool is None:
                raise UnknownToolError(self.ref.address, name)
            arguments = call.tool_args if decision.tool_args is None else decision.tool_args
            if refusal := tool.refusal(arguments):
                raise InvalidArgumentsError(self.ref.address, f"{name}(): {refusal}")
            if name != call.tool_name and self._policy(tool) is not None:
                self.loop.calls.remove(call)
                self._new_call(tool, arguments, call.tool_call_id, edited=True)
                return
            edited = (name, arguments) != (call.tool_name, call.tool_args)
            call.tool_name, call.tool_args, call.edited = name, arguments, call.edited or edited
            call.state = "ready"

    def _note(self, decision: Decision) -> None:
        refs = {"call_id": decision.call_id}
        self.thread.append("decision", decision.document(), refs=refs, at=decision.at)
        self.loop.note(decision)
        announce(self, InterruptDecided(self.ref.address, decision))

    def _call(self, call_id: str, state: Literal["waiting", "unknown"]) -> PendingCall:
        for call in self.loop.calls:
            if call.call_id == call_id and call.state == state:
                return call
        raise UnknownInterruptError(self.ref.address, call_id)
