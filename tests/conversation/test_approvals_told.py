"""Whoever is to approve tool calls is told: by events, and by the list of all that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conversation.kit import Script, Shop, Watch, call, calls
from torpor import Runtime, UnknownInterruptError
from torpor.conversation import (
    Conversation,
    ConversationAnswered,
    InterruptDecided,
    InterruptRaised,
    pending_interrupts,
)

if TYPE_CHECKING:
    from torpor import AgentRef
    from torpor.storage import Storage
    from torpor.testing import ManualClock


def test_what_happens_is_told(
    runtime: Runtime, ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """Interrupt, decision and answer are events, in order."""
    kinds = (InterruptRaised, InterruptDecided, ConversationAnswered)
    watch = Watch(runtime, *kinds)
    model.replies += [calls(call("refund", order=7)), "done"]
    [interrupt] = chat.say("refund").interrupts
    ref.ask(Shop.accept, interrupt.call_id, by="bob")
    watch.wait_for(ConversationAnswered)

    assert [type(event) for event in watch.events] == list(kinds)
    assert {event.agent for event in watch.events} == {"shop/ada"}


def test_an_undone_decision_is_no_event(runtime: Runtime, ref: AgentRef[Shop]) -> None:
    """What a failing turn did is not told."""
    watch = Watch(runtime, InterruptDecided)
    with pytest.raises(UnknownInterruptError):
        ref.ask(Shop.accept, "call_x", by="bob")
    ref.hibernate()
    assert watch.events == []


def test_the_inbox_lists_what_waits(
    storage: Storage, runtime: Runtime, model: Script, clock: ManualClock
) -> None:
    """All that waits is listed across agents and partitions, and nobody is woken."""
    model.replies += [
        calls(call("refund", order=1), call("ship", count=99)),
        calls(call("refund", order=2)),
        "hello",
    ]
    for key, partition in (("ada", None), ("bob", "a/b"), ("eve", None)):
        Conversation(runtime.get(Shop, key, partition=partition)).say("go")
        runtime.get(Shop, key, partition=partition).hibernate()

    now = clock.time()
    found = [(w.key, w.partition, w.interrupt.tool_name) for w in _inbox(storage, now)]
    assert sorted(found, key=str) == [
        ("ada", None, "refund"),
        ("ada", None, "ship"),
        ("bob", "a/b", "refund"),
    ]
    assert [w.key for w in pending_interrupts(storage, Shop, partition="a/b", now=now)] == ["bob"]
    assert "ship" not in {w.interrupt.tool_name for w in _inbox(storage, now + 3600)}
    assert runtime.live() == []


def _inbox(storage: Storage, now: float) -> list[Any]:
    return list(pending_interrupts(storage, Shop, now=now))


def test_a_large_inbox_is_read_in_pages(storage: Storage) -> None:
    """More agents than fit on a page are all looked at."""
    loop: dict[str, Any] = {
        "status": "paused",
        "calls": [
            {
                "call_id": "call_1",
                "tool_call_id": "x",
                "tool_name": "refund",
                "tool_args": {},
                "state": "waiting",
                "once": True,
                "created_at": 0.0,
            }
        ],
    }
    for n in range(450):
        value: dict[str, Any] = {"loop": loop} if n % 10 == 0 else {"metadata": {}}
        storage.put_checkpoint(f"shop/{n:03}", value, kind="shop")

    assert sorted(w.key for w in _inbox(storage, 1.0)) == [f"{n:03}" for n in range(0, 450, 10)]
