"""An approved tool runs at most once, whatever happens in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.conversation.kit import Gate, Script, Shop, Watch, call, calls, effects
from torpor import ConflictError, DeadLetter, Runtime, TurnCancelledError, UnknownInterruptError
from torpor.conversation import (
    Conversation,
    ConversationAgent,
    Interrupt,
    OutcomeUnknown,
    Progress,
    tool,
)

if TYPE_CHECKING:
    from torpor.storage import Storage


@tool(needs_approval=True)
async def launch(pad: str) -> str:
    """Launch what stands on a pad, once its gate is open."""
    effects.append(f"launch {pad}")
    return await Launcher.gate.pass_through()


class Launcher(ConversationAgent):
    """Has a tool that tests can hold in the middle of its run."""

    approvals_may_be_lost: ClassVar[bool] = True
    model = Script()
    tools = (launch,)
    gate: ClassVar[Gate] = Gate()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with a closed gate and no effects."""
    monkeypatch.setattr(Launcher, "gate", Gate("launched"))
    monkeypatch.setattr(Launcher, "model", Script(calls(call("launch", pad="A"))))
    effects.clear()


def approve(runtime: Runtime) -> Interrupt:
    """Have a launch approved, and wait until it is under way."""
    ref = runtime.get(Launcher, "x")
    [interrupt] = Conversation(ref).say("go").interrupts
    ref.ask(Launcher.accept, interrupt.call_id, by="bob")
    assert Launcher.gate.entered.wait(20)
    return interrupt


def unknown(progress: Progress) -> Interrupt:
    """Return the one call whose outcome is not known."""
    assert progress.status == "paused"
    [interrupt] = progress.interrupts
    assert interrupt.reason == "unknown_outcome"
    return interrupt


def test_running_is_durable_before_the_tool_starts(storage: Storage) -> None:
    """When the tool runs the storage says so already (turn 1 commits, turn 2 runs)."""
    with Runtime(storage) as runtime:
        interrupt = approve(runtime)
        record = storage.get_checkpoint("launcher/x")
        Launcher.gate.open()
        assert Conversation(runtime.get(Launcher, "x")).wait().answer == "You said: launched"

    assert record is not None
    [stored] = record.value["loop"]["calls"]
    assert (stored["state"], stored["call_id"]) == ("running", interrupt.call_id)


def test_a_run_that_was_cut_off_is_reported(storage: Storage) -> None:
    """After its process has ended in the middle of a run, humans are asked, not the tool (W-25)."""
    with Runtime(storage, drain_timeout=0) as runtime:
        interrupt = approve(runtime)

    with Runtime(storage) as runtime:
        watch = Watch(runtime, OutcomeUnknown)
        ref = runtime.get(Launcher, "x")
        ref.ask(Launcher.messages)
        [event] = watch.wait_for(OutcomeUnknown)
        assert isinstance(event, OutcomeUnknown)
        assert event.interrupt.call_id == interrupt.call_id
        assert unknown(Conversation(ref).wait()).call_id == interrupt.call_id
        assert [i.reason for i in ref.ask(Launcher.pending)] == ["unknown_outcome"]
    assert effects == ["launch A"]


@pytest.mark.parametrize("action", ["retry", "fail"])
def test_humans_resolve_it(storage: Storage, action: Any) -> None:
    """A human may have it run again, once more, or have it counted as failed."""
    with Runtime(storage, drain_timeout=0) as runtime:
        interrupt = approve(runtime)
    Launcher.gate.open()
    with Runtime(storage) as runtime:
        ref = runtime.get(Launcher, "x")
        unknown(Conversation(ref).wait())
        ref.ask(Launcher.resolve, interrupt.call_id, action, by="eve")
        progress = Conversation(ref).wait()
        with pytest.raises(UnknownInterruptError):
            ref.ask(Launcher.resolve, interrupt.call_id, action, by="eve")
        copy = runtime.thaw(Launcher, "x")
        assert copy is not None
        [resolution] = copy.thread.entries(kinds="resolution")

    result = "launched" if action == "retry" else "This tool call was started, but whether it"
    assert progress.text.startswith(f"You said: {result}")
    assert effects == ["launch A"] * (2 if action == "retry" else 1)
    assert resolution.payload == {"action": action, "by": "eve"}


def test_a_decision_again_does_not_run_it_again(storage: Storage) -> None:
    """While its outcome is unknown the approval, sent again, starts nothing."""
    with Runtime(storage, drain_timeout=0) as runtime:
        interrupt = approve(runtime)
    with Runtime(storage) as runtime:
        ref = runtime.get(Launcher, "x")
        for _ in range(2):
            ref.ask(Launcher.accept, interrupt.call_id, by="bob")
            unknown(Conversation(ref).wait())
    assert effects == ["launch A"]


def test_a_cancelled_run_is_reported(storage: Storage) -> None:
    """A run that is cancelled in this process is reported at the next touch."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Launcher, "x")
        [interrupt] = Conversation(ref).say("go").interrupts
        Launcher.gate.pass_through = _cancelled  # type: ignore[method-assign]  # of this test
        letters = Watch(runtime, DeadLetter)
        ref.ask(Launcher.accept, interrupt.call_id, by="bob")
        assert unknown(Conversation(ref).wait()).call_id == interrupt.call_id
        [letter] = letters.wait_for(DeadLetter)
    assert isinstance(letter, DeadLetter)
    assert isinstance(letter.error, TurnCancelledError)
    assert effects == ["launch A"]


async def _cancelled() -> str:
    await asyncio.sleep(0)
    raise asyncio.CancelledError


def test_another_process_reports_instead_of_running(storage: Storage) -> None:
    """A second process that meets a run asks humans; the first one's result does not count."""
    with Runtime(storage) as runtime, Runtime(storage) as other:
        letters = Watch(runtime, DeadLetter)
        interrupt = approve(runtime)
        ref = other.get(Launcher, "x")
        assert unknown(Conversation(ref).wait()).call_id == interrupt.call_id
        Launcher.gate.open()
        [letter] = letters.wait_for(DeadLetter)
        assert isinstance(letter, DeadLetter)
        assert isinstance(letter.error, ConflictError)
        ref.ask(Launcher.resolve, interrupt.call_id, "fail", by="eve")
        Conversation(ref).wait()
        assert Conversation(runtime.get(Launcher, "x").options(fresh=True)).wait().status == "idle"
    assert effects == ["launch A"]


def test_only_the_noted_run_runs(storage: Storage) -> None:
    """Neither a made-up nor a used token starts a tool."""
    Launcher.gate.open()
    with Runtime(storage) as runtime:
        ref = runtime.get(Launcher, "x")
        [interrupt] = Conversation(ref).say("go").interrupts
        for token in ("", "run_1"):
            ref.ask(Launcher.run_once, interrupt.call_id, token)
        assert effects == []
        ref.ask(Launcher.accept, interrupt.call_id, by="bob")
        Conversation(ref).wait()
        ref.ask(Launcher.run_once, interrupt.call_id, "run_1")
    assert effects == ["launch A"]


def test_a_tool_without_approval_may_be_at_most_once(storage: Storage, model: Script) -> None:
    """``once`` gives the same promise to a tool that needs no approval."""
    model.replies.append(calls(call("charge", order=1)))
    with Runtime(storage) as runtime:
        Conversation(runtime.get(Shop, "ada")).say("charge")
        copy = runtime.thaw(Shop, "ada")
        assert copy is not None
        kinds = [entry.kind for entry in copy.thread.entries()]
    assert kinds == ["message", "message", "tool_call", "tool_result", "message"]
    assert effects == ["charge 1"]
