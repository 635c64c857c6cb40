"""Conversations that wake by themselves: to go on, and when an approval expires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conversation.kit import PATIENCE, Gate, Script, Shop, Watch, call, calls, effects
from torpor import Runtime
from torpor.conversation import (
    Conversation,
    ConversationAgent,
    ConversationAnswered,
    InterruptDecided,
)

if TYPE_CHECKING:
    import pytest

    from torpor import AgentRef
    from torpor.storage import Storage
    from torpor.testing import ManualClock


def test_a_sleeping_agent_ends_what_has_expired(
    runtime: Runtime, chat: Conversation[Shop], model: Script, clock: ManualClock
) -> None:
    """An interrupt's time limit wakes the agent, which tells the model, touched by nobody."""
    watch = Watch(runtime, InterruptDecided, ConversationAnswered)
    model.replies += [calls(call("ship", count=99), call("ship", count=98)), "too late"]
    chat.say("ship")
    chat.ref.hibernate()
    clock.advance(3600)

    [answered] = watch.wait_for(ConversationAnswered)
    assert isinstance(answered, ConversationAnswered)
    assert answered.answer == "too late"
    decided = [
        e.decision.action for e in watch.of(InterruptDecided) if isinstance(e, InterruptDecided)
    ]
    assert decided == ["expire", "expire"]
    assert effects == []


def test_each_limit_is_kept(
    runtime: Runtime,
    ref: AgentRef[Shop],
    chat: Conversation[Shop],
    model: Script,
    clock: ManualClock,
) -> None:
    """Of several interrupts each expires in its own time, and decided ones don't."""
    watch = Watch(runtime, InterruptDecided)
    model.replies += [
        calls(call("ship", count=99), call("ship", count=98), call("refund", order=1)),
        "done",
    ]
    first, _, unlimited = chat.say("ship").interrupts
    ref.ask(Shop.accept, first.call_id, by="bob")
    chat.wait()
    clock.advance(3600)

    watch.wait_for(InterruptDecided, 2)
    assert chat.wait().interrupts == (unlimited,)
    assert effects == ["ship 99"]


def test_a_run_that_was_cut_off_goes_on_by_itself(
    storage: Storage, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart the conversation is woken and goes on; nobody has to speak to it."""
    before, after = Gate(), Gate("answered")
    monkeypatch.setattr(Shop, "model", before)
    with Runtime(storage, clock=clock, drain_timeout=0) as runtime:
        runtime.get(Shop, "ada").ask(Shop.say, "hi")
        assert before.entered.wait(PATIENCE)

    monkeypatch.setattr(Shop, "model", after)
    clock.advance(61)
    with Runtime(storage, clock=clock, agents=[Shop]) as runtime:
        assert after.entered.wait(PATIENCE)
        after.open()
        assert Conversation(runtime.get(Shop, "ada")).wait().answer == "answered"


def test_nothing_is_planned_at_rest(
    storage: Storage, ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """Who has answered, or waits without a time limit, is not woken for nothing."""

    def wake_at() -> float | None:
        chat.wait()
        ref.hibernate()
        record = storage.get_checkpoint("shop/ada")
        assert record is not None
        return record.wake_at

    chat.say("hi")
    assert wake_at() is None
    model.replies.append(calls(call("refund", order=1)))
    [interrupt] = chat.say("refund").interrupts
    assert wake_at() is None
    ref.ask(Shop.reject, interrupt.call_id, by="bob")
    assert wake_at() is None
    model.replies.append(OSError("no net"))
    ref.ask(Shop.say, "hi")
    ref.ask(Shop.proceed)
    ref.hibernate()
    record = storage.get_checkpoint("shop/ada")
    assert record is not None
    assert record.wake_at is None


def test_a_conversation_that_is_never_saved_plans_nothing(runtime: Runtime) -> None:
    """Without any durability a conversation without guarded tools works."""

    class Fleeting(ConversationAgent, durability="none"):
        model = Script("hello")

    assert Conversation(runtime.get(Fleeting, "x")).say("hi").answer == "hello"
