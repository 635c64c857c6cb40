"""Tool calls that wait for a human, and what humans decide."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.conversation.kit import Script, Shop, Watch, call, calls, effects
from torpor import (
    AlreadyDecidedError,
    ApprovalNotDurableError,
    ConversationBusyError,
    ConversationError,
    InterruptExpiredError,
    InvalidArgumentsError,
    ModelFailedError,
    Runtime,
    UnknownInterruptError,
    UnknownToolError,
)
from torpor.conversation import (
    ApprovalPolicy,
    Conversation,
    ConversationAgent,
    ConversationAnswered,
    InterruptDecided,
    InterruptRaised,
    pending_interrupts,
    tool,
)
from torpor.storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torpor import AgentRef
    from torpor.conversation import Interrupt, Message, Progress, Tool
    from torpor.storage import Storage
    from torpor.testing import ManualClock


@pytest.fixture
def waiting(chat: Conversation[Shop], model: Script) -> Interrupt:
    """Let the clerk ask for a refund's approval."""
    model.replies.append(calls(call("refund", order=7)))
    [interrupt] = chat.say("refund order 7").interrupts
    return interrupt


def entries(runtime: Runtime, *kinds: str) -> list[tuple[str, Any]]:
    """Return kind and payload of what the journal has of some kinds."""
    copy = runtime.thaw(Shop, "ada")
    assert copy is not None
    return [(e.kind, e.payload) for e in copy.thread.entries(kinds=kinds)]


# -- pausing ----------------------------------------------------------------------------------


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


# -- fails closed -----------------------------------------------------------------------------


@tool(needs_approval=True)
def drop(table: str) -> None:
    """Remove a table."""
    effects.append(f"drop {table}")


@tool(once=True)
def pay(amount: int) -> None:
    """Pay once."""
    effects.append(f"pay {amount}")


class Careful(ConversationAgent):
    """Has a guarded tool, and no word about approvals that may be lost."""

    model = Script()
    tools = (drop,)


@pytest.mark.parametrize("storage", ["memory"], indirect=True)
def test_no_approvals_in_memory(storage: Storage, model: Script) -> None:
    """Where approvals would be lost with the process, the conversation does not begin (HI-8)."""
    del model
    with Runtime(storage) as runtime:
        chat = Conversation(runtime.get(Careful, "ada"))
        with pytest.raises(ApprovalNotDurableError) as caught:
            chat.say("drop it")
    assert caught.value.tools == ("drop",)
    assert isinstance(caught.value, ConversationError)


@pytest.mark.parametrize("durability", ["interval", "hibernate", "none"])
@pytest.mark.parametrize("guarded", [drop, pay], ids=lambda tool: tool.name)
def test_no_approvals_without_durable_turns(tmp_path: Path, durability: Any, guarded: Any) -> None:
    """Where a turn is not durable when it ends, guarded tools don't run (HI-8)."""
    script = Script(calls(call("drop", table="users"), call("pay", amount=1)))

    class Hasty(ConversationAgent, durability=durability):
        model = script
        tools = (guarded,)

    with SQLiteStorage(tmp_path / "s.db") as storage, Runtime(storage) as runtime:
        chat = Conversation(runtime.get(Hasty, "ada"))
        with pytest.raises(ApprovalNotDurableError):
            chat.say("go")
    assert script.seen == []


def test_a_tool_that_comes_later_is_guarded_too(tmp_path: Path) -> None:
    """The check is made when a call is to wait, not only when the message comes (HI-8)."""
    given: list[Tool] = []

    def appoint(messages: Sequence[Message]) -> Message:
        del messages
        given.append(drop)
        return calls(call("drop", table="users"))

    class Changing(ConversationAgent, durability="interval"):
        model = Script(appoint)

        def get_tools(self) -> list[Tool]:
            return given

    with SQLiteStorage(tmp_path / "s.db") as storage, Runtime(storage) as runtime:
        ref = runtime.get(Changing, "ada")
        with pytest.raises(ModelFailedError, match="drop: needs a durable storage"):
            Conversation(ref).say("go")
    assert "drop users" not in effects


def test_an_approved_call_is_not_run_where_that_could_be_forgotten(tmp_path: Path) -> None:
    """A call approved under durable turns does not run under weaker ones (HI-8)."""

    class Before(ConversationAgent, kind="one"):
        model = Script(calls(call("drop", table="users")))
        tools = (drop,)

    class After(ConversationAgent, kind="one", durability="interval"):
        tools = (drop,)

    effects.clear()
    with SQLiteStorage(tmp_path / "s.db") as storage:
        with Runtime(storage) as runtime:
            [interrupt] = Conversation(runtime.get(Before, "x")).say("go").interrupts
        with Runtime(storage) as runtime:
            ref = runtime.get(After, "x")
            ref.ask(After.accept, interrupt.call_id, by="bob")
            with pytest.raises(ModelFailedError, match="drop: needs a durable storage"):
                Conversation(ref).wait()
    assert effects == []


# -- events and inbox -------------------------------------------------------------------------


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
