"""Where a conversation stands: the state of its loop, and what is seen of it outside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

__all__ = ["Decision", "Interrupt", "Loop", "PendingCall", "Progress", "Status"]

Status = Literal["idle", "running", "paused", "failed"]
Action = Literal["accept", "edit", "reject", "respond", "expire"]

REMEMBERED_DECISIONS = 50

Moment = Annotated[float, Field(ge=-62_135_596_800, lt=253_402_300_800)]
"""Seconds since the epoch, within the years that a ``datetime`` can name."""


class Interrupt(BaseModel):
    """A tool call that waits for a human.

    ``reason`` is ``"approval"`` (accept, edit, reject or respond), or ``"unknown_outcome"``: it
    was approved and started, and whether it finished is not known (``resolve``).
    """

    type: Literal["human_in_loop"] = "human_in_loop"
    call_id: str
    tool_name: str
    tool_args: dict[str, Any]
    policy_note: str | None = None
    created_at: datetime
    expires_at: datetime | None = None
    reason: Literal["approval", "unknown_outcome"] = "approval"

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON data, without what is not set."""
        return self.model_dump(mode="json", exclude_none=True)


class Decision(BaseModel):
    """What a human decided about one interrupt; ``by`` is whoever the caller says it was."""

    call_id: str
    action: Action
    by: str | None
    at: float
    tool_name: str | None = None
    tool_args: dict[str, Any] | None = None
    message: str | None = None

    def same(self, other: Decision) -> bool:
        """Whether both say the same, whoever said it and when."""
        apart = {"by", "at"}
        return self.model_dump(exclude=apart) == other.model_dump(exclude=apart)

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON data, without what is not set and what the entry has."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"call_id", "at"})


class PendingCall(BaseModel):
    """A tool call without a result. ``call_id`` is unique for ever, ``tool_call_id`` the model's.

    ``waiting`` for a human -> ``ready`` -> (only if ``once``) ``running``, with the ``token`` of
    this run -> gone; ``running`` -> ``unknown`` if that run's end is not known.
    """

    call_id: str
    tool_call_id: str
    tool_name: str
    tool_args: dict[str, Any]
    state: Literal["waiting", "ready", "running", "unknown"]
    once: bool
    edited: bool = False
    note: str | None = None
    created_at: Moment
    expires_at: Moment | None = None
    token: str = ""

    def interrupt(self) -> Interrupt | None:
        """Return what a human is to be shown, None if nobody is waited for."""
        if self.state not in {"waiting", "unknown"}:
            return None
        return Interrupt(
            call_id=self.call_id,
            tool_name=self.tool_name,
            tool_args=self.tool_args,
            policy_note=self.note,
            created_at=datetime.fromtimestamp(self.created_at, UTC),
            expires_at=_time(self.expires_at if self.state == "waiting" else None),
            reason="approval" if self.state == "waiting" else "unknown_outcome",
        )


class Loop(BaseModel):
    """The run that answers the newest message. ``iterations`` counts the model's replies."""

    status: Status = "idle"
    message_id: str | None = None
    iterations: int = 0
    calls: list[PendingCall] = Field(default_factory=list[PendingCall])
    decisions: list[Decision] = Field(default_factory=list[Decision])
    answer: str | None = None
    error: str | None = None

    def interrupts(self) -> tuple[Interrupt, ...]:
        """Return what humans are to decide, oldest first."""
        found = (call.interrupt() for call in self.calls)
        return tuple(interrupt for interrupt in found if interrupt is not None)

    def decision(self, call_id: str) -> Decision | None:
        """Return what was decided about an interrupt, None if that is not remembered."""
        return next((d for d in self.decisions if d.call_id == call_id), None)

    def note(self, decision: Decision) -> None:
        """Remember a decision, and forget the oldest if there are many."""
        self.decisions = [*self.decisions, decision][-REMEMBERED_DECISIONS:]

    def progress(self) -> Progress:
        """Return what is seen of it outside."""
        return Progress(
            status=self.status, answer=self.answer, interrupts=self.interrupts(), error=self.error
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an agent has come with the newest message.

    ``status``: ``"running"`` (it goes on by itself), ``"paused"`` (it waits for the decisions of
    ``interrupts``), ``"failed"`` (by ``error``; ``retry``) or ``"idle"``. ``answer`` is the final
    answer, None while there is none.
    """

    status: Status
    answer: str | None = None
    interrupts: tuple[Interrupt, ...] = ()
    error: str | None = None

    @property
    def current_interrupt(self) -> Interrupt | None:
        """The interrupt that has waited longest, None if there is none."""
        return self.interrupts[0] if self.interrupts else None

    @property
    def text(self) -> str:
        """What to show: the answer, or what it waits for."""
        if self.answer is not None:
            return self.answer
        if self.current_interrupt is not None:
            name = self.current_interrupt.tool_name
            return f"Execution paused: Tool '{name}' requires human approval"
        return self.error or ""


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
