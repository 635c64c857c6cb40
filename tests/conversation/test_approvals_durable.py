"""Where approvals could be lost, nothing that needs one is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conversation.kit import Script, call, calls, effects
from torpor import ApprovalNotDurableError, ConversationError, ModelFailedError, Runtime
from torpor.conversation import Conversation, ConversationAgent, tool
from torpor.storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torpor.conversation import Message, Tool
    from torpor.storage import Storage


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
