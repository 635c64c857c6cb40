"""What humans decide about the tool calls that wait for them, in time or too late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conversation.kit import Script, Shop, call, calls, effects, entries
from torpor import (
    AlreadyDecidedError,
    ConversationBusyError,
    InterruptExpiredError,
    InvalidArgumentsError,
    Runtime,
    UnknownInterruptError,
    UnknownToolError,
)
from torpor.conversation import Conversation

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor import AgentRef
    from torpor.conversation import Interrupt, Progress
    from torpor.testing import ManualClock


# -- deciding ---------------------------------------------------------------------------------

DECISIONS: dict[str, tuple[Callable[[AgentRef[Shop], str], Progress], list[str], str]] = {
    "accept": (
        lambda ref, call_id: ref.ask(Shop.accept, call_id, by="bob"),
        ["refund 7 1.0"],
        '{"paid":1.0}',
    ),
    "edit": (
        lambda ref, call_id: ref.ask(
            Shop.edit, call_id, by="bob", tool_args={"order": 7, "amount": 0.5}
        ),
        ["refund 7 0.5"],
        "(A human changed this call: refund {'order': 7, 'amount': 0.5})\n{\"paid\":0.5}",
    ),
    "edit to another tool": (
        lambda ref, call_id: ref.ask(
            Shop.edit, call_id, by="bob", tool_name="price", tool_args={"item": "tea"}
        ),
        ["price tea"],
        "(A human changed this call: price {'item': 'tea'})\n3",
    ),
    "reject": (
        lambda ref, call_id: ref.ask(Shop.reject, call_id, by="bob"),
        [],
        "Tool execution rejected by human reviewer.",
    ),
    "reject with a reason": (
        lambda ref, call_id: ref.ask(Shop.reject, call_id, by="bob", reason="too much"),
        [],
        "too much",
    ),
    "respond": (
        lambda ref, call_id: ref.ask(Shop.respond, call_id, "ask tomorrow", by="bob"),
        [],
        "ask tomorrow",
    ),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_is_carried_out(
    ref: AgentRef[Shop],
    chat: Conversation[Shop],
    model: Script,
    waiting: Interrupt,
    name: str,
) -> None:
    """Each decision does what it says, its result is shown, the loop goes on (HI-5, HI-7)."""
    decide, ran, result = DECISIONS[name]
    model.replies.append("as you wish")
    progress = decide(ref, waiting.call_id)

    assert progress.interrupts == ()
    assert chat.wait().answer == "as you wish"
    assert effects == ran
    assert (model.seen[-1][-1].role, model.seen[-1][-1].text) == ("tool", result)
    assert model.seen[-1][-1].tool_call_id == "refund-7"
    assert ref.ask(Shop.pending) == []


@pytest.mark.parametrize("name", DECISIONS)
def test_who_decided_is_recorded(
    runtime: Runtime, ref: AgentRef[Shop], waiting: Interrupt, clock: ManualClock, name: str
) -> None:
    """The journal says who decided what and when, by call id (W-25)."""
    clock.advance(100)
    DECISIONS[name][0](ref, waiting.call_id)
    Conversation(ref).wait()

    copy = runtime.thaw(Shop, "ada")
    assert copy is not None
    [entry] = copy.thread.entries(kinds="decision")
    assert entry.payload["by"] == "bob"
    assert entry.payload["action"] == name.partition(" ")[0]
    assert entry.refs == {"call_id": waiting.call_id}
    assert entry.at == clock.time()


def test_interrupts_are_decided_one_by_one(
    ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """Each interrupt waits for its own decision; what needs none runs at once (W-25)."""
    model.replies += [
        calls(*(call("refund", order=n) for n in (1, 2, 3)), call("price", item="tea")),
        "done",
    ]
    first, second, third = chat.say("refund all").interrupts
    assert effects == ["price tea"]

    ref.ask(Shop.accept, second.call_id, by="bob")
    progress = chat.wait()
    assert effects == ["price tea", "refund 2 1.0"]
    assert (progress.status, progress.interrupts) == ("paused", (first, third))

    ref.ask(Shop.reject, third.call_id, by="eve")
    assert chat.wait().interrupts == (first,)
    ref.ask(Shop.accept, first.call_id, by="bob")
    assert chat.wait().answer == "done"
    assert effects == ["price tea", "refund 2 1.0", "refund 1 1.0"]
    assert len(model.seen) == 2


def test_no_message_while_a_human_is_waited_for(
    chat: Conversation[Shop], waiting: Interrupt
) -> None:
    """A new message is refused as long as a human has not decided (W-25)."""
    with pytest.raises(ConversationBusyError) as caught:
        chat.say("hurry up")

    assert caught.value.call_ids == (waiting.call_id,)


def test_another_guarded_tool_needs_its_own_approval(
    runtime: Runtime, ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """Editing a call to another guarded tool asks again, with a new id (W-25)."""
    model.replies += [calls(call("ship", count=99)), "done"]
    [first] = chat.say("ship").interrupts
    ref.ask(Shop.edit, first.call_id, by="bob", tool_name="refund", tool_args={"order": 1})

    [second] = chat.wait().interrupts
    assert second.call_id != first.call_id
    assert second.tool_name == "refund"
    assert effects == []
    ref.ask(Shop.accept, second.call_id, by="eve")
    assert chat.wait().answer == "done"
    assert effects == ["refund 1 1.0"]
    assert [payload["by"] for _, payload in entries(runtime, "decision")] == ["bob", "eve"]


def test_what_cannot_be_run_still_waits(
    ref: AgentRef[Shop], waiting: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown tool or wrong arguments are refused; the interrupt stays (HI-6)."""
    with pytest.raises(UnknownToolError, match="Tool 'nothing' not found"):
        ref.ask(Shop.edit, waiting.call_id, by="bob", tool_name="nothing")
    for arguments in ({"order": "seven"}, {}, {"order": 1, "more": 2}):
        with pytest.raises(InvalidArgumentsError):
            ref.ask(Shop.edit, waiting.call_id, by="bob", tool_args=arguments)
    with monkeypatch.context() as patch:
        patch.setattr(Shop, "tools", ())
        with pytest.raises(UnknownToolError):
            ref.ask(Shop.accept, waiting.call_id, by="bob")

    assert ref.ask(Shop.pending) == [waiting]
    assert effects == []


@pytest.mark.parametrize("by", ["", "  "])
def test_nobody_decides_nothing(ref: AgentRef[Shop], waiting: Interrupt, by: str) -> None:
    """A decision names who made it."""
    with pytest.raises(InvalidArgumentsError, match="by whom"):
        ref.ask(Shop.accept, waiting.call_id, by=by)


def test_unknown_interrupts_are_told(ref: AgentRef[Shop], chat: Conversation[Shop]) -> None:
    """A decision about nothing that waits is a typed error (HI-6)."""
    chat.say("hi")
    with pytest.raises(UnknownInterruptError) as caught:
        ref.ask(Shop.accept, "call_x", by="bob")
    assert caught.value.call_id == "call_x"
    with pytest.raises(UnknownInterruptError):
        ref.ask(Shop.resolve, "call_x", "retry", by="bob")


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_twice_is_one(
    runtime: Runtime, ref: AgentRef[Shop], chat: Conversation[Shop], waiting: Interrupt, name: str
) -> None:
    """The same decision again, by whomever and however late, changes nothing (W-25)."""
    decide, ran, _ = DECISIONS[name]
    decide(ref, waiting.call_id)
    decide(ref, waiting.call_id)
    chat.wait()
    chat.say("more")
    ref.hibernate()

    assert decide(ref, waiting.call_id).status == "idle"
    assert effects == ran
    assert len(entries(runtime, "decision")) == 1


def test_a_contrary_decision_is_refused(
    ref: AgentRef[Shop], chat: Conversation[Shop], waiting: Interrupt
) -> None:
    """What was decided stays decided; who comes later is told by whom."""
    ref.ask(Shop.reject, waiting.call_id, by="bob", reason="no")
    chat.wait()
    for name in ("accept", "edit", "reject", "respond"):
        with pytest.raises(AlreadyDecidedError) as caught:
            DECISIONS[name][0](ref, waiting.call_id)
        assert (caught.value.action, caught.value.by) == ("reject", "bob")
    assert effects == []


# -- expiry -----------------------------------------------------------------------------------


def test_an_interrupt_expires(
    runtime: Runtime,
    ref: AgentRef[Shop],
    chat: Conversation[Shop],
    model: Script,
    clock: ManualClock,
) -> None:
    """After its time limit a call counts as rejected, is recorded so, and the loop goes on."""
    model.replies += [calls(call("ship", count=99)), "not shipped"]
    [interrupt] = chat.say("ship").interrupts
    clock.advance(3599)
    assert ref.ask(Shop.pending) == [interrupt]
    clock.advance(2)

    assert ref.ask(Shop.pending) == []
    assert chat.wait().answer == "not shipped"
    assert model.seen[-1][-1].text == "Nobody approved this tool call in time; it was not run."
    assert entries(runtime, "decision") == [("decision", {"action": "expire"})]
    assert effects == []


def test_a_decision_too_late_is_refused(
    ref: AgentRef[Shop], chat: Conversation[Shop], model: Script, clock: ManualClock
) -> None:
    """A decision after the time limit does nothing and says so, before and after it is noted."""
    model.replies.append(calls(call("ship", count=99)))
    [interrupt] = chat.say("ship").interrupts
    clock.advance(3600)
    for _ in range(2):
        with pytest.raises(InterruptExpiredError):
            ref.ask(Shop.accept, interrupt.call_id, by="bob")
        chat.wait()

    assert effects == []
    assert chat.say("go on").answer == "You said: go on"


def test_a_message_after_expiry_is_answered(
    chat: Conversation[Shop], model: Script, clock: ManualClock
) -> None:
    """Whoever speaks next finds the expired interrupt ended."""
    model.replies += [calls(call("ship", count=99)), "not shipped"]
    chat.say("ship")
    clock.advance(3600)

    assert chat.say("and now?").answer == "You said: and now?"
    assert "not shipped" in model.texts()
