"""Tool calls that wait for a human: which do, and what becomes of the conversation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.conversation.kit import Script, Shop, call, calls, effects, entries
from torpor import Runtime
from torpor.conversation import ApprovalPolicy, Conversation, InterruptRaised, pending_interrupts

if TYPE_CHECKING:
    from torpor import AgentRef
    from torpor.conversation import Interrupt
    from torpor.storage import Storage
    from torpor.testing import ManualClock


def test_an_interrupt_says_what_is_to_be_approved(waiting: Interrupt) -> None:
    """It names tool, arguments, note, time and an id of its own, as plain data (HI-2)."""
    document = waiting.document()

    assert document.pop("call_id").startswith("call_")
    assert datetime.fromisoformat(document.pop("created_at")).tzinfo == UTC
    assert document == {
        "type": "human_in_loop",
        "reason": "approval",
        "tool_name": "refund",
        "tool_args": {"order": 7},
        "policy_note": "Money leaves the house.",
    }


def test_what_is_not_set_is_left_out(chat: Conversation[Shop], model: Script) -> None:
    """Without a note the interrupt has none (HI-2)."""
    model.replies.append(calls(call("ship", count=11)))
    [interrupt] = chat.say("ship").interrupts

    assert "policy_note" not in interrupt.document()
    assert interrupt.expires_at is not None
    assert (interrupt.expires_at - interrupt.created_at).total_seconds() == 3600


def test_the_agent_pauses(
    runtime: Runtime, ref: AgentRef[Shop], chat: Conversation[Shop], waiting: Interrupt
) -> None:
    """The tool did not run, the pause says why, and the journal has the interrupt (HI-3, HI-4)."""
    progress = chat.wait()

    assert progress.status == "paused"
    assert progress.answer is None
    assert progress.text == "Execution paused: Tool 'refund' requires human approval"
    assert progress.current_interrupt == waiting
    assert ref.ask(Shop.pending) == [waiting]
    assert entries(runtime, "interrupt") == [("interrupt", waiting.document())]
    assert effects == []


def test_an_interrupt_is_durable_before_it_is_seen(
    storage: Storage, runtime: Runtime, chat: Conversation[Shop], model: Script
) -> None:
    """When listeners hear of an interrupt, it is stored (HI-3)."""
    stored: list[list[str]] = []

    def look(event: InterruptRaised) -> None:
        found = pending_interrupts(storage, Shop, now=0)
        stored.append([waiting.interrupt.call_id for waiting in found])
        stored.append([event.interrupt.call_id])

    runtime.listen(look, InterruptRaised)
    model.replies.append(calls(call("refund", order=7)))
    chat.say("refund")

    assert stored[0] == stored[1] != []


def test_it_sleeps_for_days(storage: Storage, clock: ManualClock, model: Script) -> None:
    """It hibernates while it waits; days and a restart later the decision is carried out."""
    model.replies += [calls(call("refund", order=7)), "refunded"]
    with Runtime(storage, clock=clock, idle_timeout=60) as runtime:
        ref = runtime.get(Shop, "ada")
        [interrupt] = Conversation(ref).say("refund").interrupts
        ref.hibernate()
        assert ref.status().state == "asleep"

    clock.advance(5 * 86400)
    with Runtime(storage, clock=clock) as runtime:
        ref = runtime.get(Shop, "ada")
        ref.ask(Shop.accept, interrupt.call_id, by="bob")
        assert Conversation(ref).wait().answer == "refunded"
    assert effects == ["refund 7 1.0"]


def test_instructions_name_the_guarded_tools(chat: Conversation[Shop], model: Script) -> None:
    """The model is told which tools need approval (HI-4)."""
    chat.say("hi")

    lines = model.seen[0][0].text.splitlines()
    assert lines[0] == "You are a clerk."
    assert "- refund: Money leaves the house." in lines
    assert "- ship" in lines
    assert not [line for line in lines if "price" in line or "charge" in line]


@pytest.mark.parametrize(
    ("policies", "ran"),
    [
        ({}, False),
        ({"refund": ApprovalPolicy(allow_auto=True)}, True),
        ({"refund": ApprovalPolicy(allow_auto=False)}, False),
        ({"price": ApprovalPolicy()}, False),
    ],
    ids=["the tool's own", "allowed", "not allowed", "another tool's"],
)
def test_policies_by_tool_name(
    chat: Conversation[Shop],
    model: Script,
    monkeypatch: pytest.MonkeyPatch,
    policies: dict[str, ApprovalPolicy],
    *,
    ran: bool,
) -> None:
    """A call waits if there is a policy for its tool that does not allow it (HI-1)."""
    monkeypatch.setattr(Shop, "policies", policies)
    model.replies += [calls(call("refund", order=7)), "done"]

    assert chat.say("refund").status == ("idle" if ran else "paused")
    assert bool(effects) == ran


def test_a_policy_guards_a_tool_that_has_none(
    chat: Conversation[Shop], model: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class may guard a tool that somebody else wrote (HI-1)."""
    monkeypatch.setattr(Shop, "policies", {"price": ApprovalPolicy(note="secret")})
    model.replies.append(calls(call("price", item="tea")))

    [interrupt] = chat.say("how much?").interrupts
    assert (interrupt.tool_name, interrupt.policy_note) == ("price", "secret")


@pytest.mark.parametrize(("count", "paused"), [(10, False), (11, True)])
def test_arguments_may_decide(
    chat: Conversation[Shop], model: Script, count: int, *, paused: bool
) -> None:
    """Whether a call waits may depend on its arguments."""
    model.replies.append(calls(call("ship", count=count)))

    assert (chat.say("ship").status == "paused") == paused
    assert effects == ([] if paused else ["ship 10"])


def test_a_broken_policy_asks_a_human(
    chat: Conversation[Shop], model: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it can't be told whether a call needs approval, it does (fails closed)."""
    broken = ApprovalPolicy(when=lambda arguments: bool(arguments["no such argument"]))
    monkeypatch.setattr(Shop, "policies", {"price": broken})
    model.replies.append(calls(call("price", item="tea")))

    assert chat.say("how much?").status == "paused"
