"""Conversations with a model and ordinary tools, one durable step after the other."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.conversation.kit import PATIENCE, Gate, Script, Shop, Watch, call, calls, effects
from torpor import ConversationBusyError, DeadLetter, ModelFailedError, Runtime
from torpor.conversation import (
    Conversation,
    ConversationAgent,
    ConversationAnswered,
    ConversationFailed,
    Message,
    Todo,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor import AgentRef, Reply
    from torpor.conversation import Progress, Tool
    from torpor.storage import Storage


def roles(messages: Sequence[Message]) -> str:
    """Return the first letters of who spoke."""
    return "".join(message.role[0] for message in messages)


def add_up(messages: Sequence[Message]) -> str:
    """Return the results of tools as a sum."""
    return "+".join(message.text for message in messages if message.role == "tool")


def test_it_answers(chat: Conversation[Shop], model: Script) -> None:
    """A message is answered by the model, which is shown instructions and history."""
    assert chat.say("hi").answer == "You said: hi"
    assert chat.say("again").text == "You said: again"

    assert roles(model.seen[-1]) == "suau"
    assert model.seen[-1][0].text.startswith("You are a clerk.")
    assert model.texts() == ["hi", "You said: hi", "again"]
    assert model.tools == ["price", "refund", "ship", "charge", "fail", "plan"]


def test_history_survives_a_restart(storage: Storage, model: Script) -> None:
    """After a restart the model is shown what was said before; fields are there (W-24)."""
    with Runtime(storage) as runtime:
        Conversation(runtime.get(Shop, "ada")).say("my name is Ada")
    with Runtime(storage) as runtime:
        ref = runtime.get(Shop, "ada")
        Conversation(ref).say("who am I?")
        assert [m.text for m in ref.ask(Shop.messages, 3)][:2] == [
            "You said: my name is Ada",
            "who am I?",
        ]
        assert ref.proxy().greeting.get() == "hello"

    assert model.texts()[0] == "my name is Ada"


def test_conversations_do_not_meet(runtime: Runtime, model: Script) -> None:
    """Each key is a conversation of its own, and so is each partition (W-23)."""
    for key, partition in (("ada", None), ("bob", None), ("ada", "other")):
        Conversation(runtime.get(Shop, key, partition=partition)).say(f"I am {key} {partition}")

    assert [len(seen) for seen in model.seen] == [2, 2, 2]


def test_a_message_is_durable_before_the_model_sees_it(
    chat: Conversation[Shop], storage: Storage, model: Script
) -> None:
    """When the model is called the user's message is stored already (AX-17)."""
    stored: list[str] = []

    def look(messages: Sequence[Message]) -> str:
        del messages
        record = storage.get_checkpoint("shop/ada")
        assert record is not None
        assert record.thread is not None
        thread = storage.load_thread(record.thread.id)
        assert thread is not None
        stored.extend(entry.payload["content"] for entry in thread)
        return "ok"

    model.replies.append(look)
    chat.say("keep this")

    assert stored == ["keep this"]


def test_tools_run_and_their_results_are_shown(chat: Conversation[Shop], model: Script) -> None:
    """Tools that the model calls run, and it is shown their results until it answers."""
    model.replies += [
        calls(call("price", item="tea"), call("price", item="cake")),
        add_up,
    ]

    assert chat.say("how much?").answer == "3+4"
    assert effects == ["price tea", "price cake"]
    assert roles(model.seen[-1]) == "suatt"
    assert [m.tool_call_id for m in model.seen[-1][3:]] == ["price-tea", "price-cake"]


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (call("fail", reason="no tea"), "LookupError: no tea"),
        (call("unheard_of"), "Tool 'unheard_of': not found"),
        (call("price", item=7), "valid string"),
        (call("price"), "Field required"),
        (call("price", item="tea", colour="red"), "not permitted"),
        (call("refund", order=1, amount="much"), "valid number"),
    ],
    ids=["raises", "unknown", "wrong type", "missing", "surplus", "guarded and wrong"],
)
def test_a_failing_call_is_told_to_the_model(
    chat: Conversation[Shop], model: Script, wanted: Any, shown: str
) -> None:
    """A tool's error, an unknown tool and wrong arguments go back to the model (HI-9)."""
    model.replies += [calls(wanted), "sorry"]

    assert chat.say("go").answer == "sorry"
    result = model.seen[-1][-1]
    assert (result.role, result.is_error, result.tool_call_id) == ("tool", True, wanted.id)
    assert shown in result.text


def test_the_loop_is_limited(
    chat: Conversation[Shop], model: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that never stops calling tools is stopped with a fixed answer (HI-9)."""
    monkeypatch.setattr(Shop, "max_iterations", 3)
    model.replies += [calls(call("price", item=str(n))) for n in range(9)]

    assert chat.say("go").answer == "I stopped after 3 steps without a final answer."
    assert effects == ["price 0", "price 1", "price 2"]
    model.replies.clear()
    assert chat.say("and now?").answer == "You said: and now?"


def test_a_failing_model_keeps_the_message(
    runtime: Runtime, chat: Conversation[Shop], model: Script
) -> None:
    """If the model fails the caller is told, the message is kept, and retry has it answered."""
    watch = Watch(runtime, ConversationFailed)
    model.replies.append(OSError("no net"))
    with pytest.raises(ModelFailedError, match="no net"):
        chat.say("hi")
    watch.wait_for(ConversationFailed)
    with pytest.raises(ModelFailedError):
        chat.wait()

    chat.ref.hibernate()
    assert chat.retry().answer == "You said: hi"
    assert chat.retry().answer == "You said: hi"
    assert len(model.seen) == 2


def test_after_a_failure_one_may_go_on(chat: Conversation[Shop], model: Script) -> None:
    """After a failure of the model something else may be said; nothing was lost."""
    model.replies += [OSError("no net"), Message(role="user", content="I am you")]
    for text, detail in (("one", "no net"), ("two", "not as the assistant")):
        with pytest.raises(ModelFailedError, match=detail):
            chat.say(text)

    chat.say("three")
    assert model.texts() == ["one", "two", "three"]


def test_one_message_at_a_time(
    ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """A message that comes between two steps of a run is refused."""
    replies: list[Reply[Progress]] = []

    def interrupted(messages: Sequence[Message]) -> Message:
        del messages
        replies.append(ref.submit(Shop.say, "two"))
        return calls(call("price", item="tea"))

    model.replies += [interrupted, "done"]

    assert chat.say("one").answer == "done"
    with pytest.raises(ConversationBusyError) as caught:
        replies[0].get()
    assert caught.value.call_ids == ()
    assert model.texts()[0] == "one"


def test_say_waits_for_the_answer_before(
    ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """``Conversation.say`` has what was said before answered first."""
    for n in range(5):
        model.replies += [calls(call("price", item="tea")), f"first {n}", f"second {n}"]
        ref.ask(Shop.say, "one")
        assert chat.say("two").answer == f"second {n}"


def test_a_message_sent_again_is_taken_once(ref: AgentRef[Shop], chat: Conversation[Shop]) -> None:
    """With an id of its own a message whose reply got lost can be sent again."""
    for _ in range(2):
        ref.ask(Shop.say, "hi", message_id="m1")
    assert chat.say("hi", message_id="m1").answer == "You said: hi"

    assert [m.text for m in ref.ask(Shop.messages)] == ["hi", "You said: hi"]
    assert chat.say("hi", message_id="m2").answer == "You said: hi"
    assert len(ref.ask(Shop.messages)) == 4


def test_nobody_has_to_wait(runtime: Runtime, ref: AgentRef[Shop], model: Script) -> None:
    """The agent works on without whoever asked: it sends itself each next step."""
    watch = Watch(runtime, ConversationAnswered)
    model.replies += [calls(call("price", item="tea")), "3 it is"]
    ref.tell(Shop.say, "how much?")

    assert watch.wait_for(ConversationAnswered) == [ConversationAnswered("shop/ada", "3 it is")]


def test_a_run_is_taken_up_after_a_restart(
    storage: Storage, model: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that the end of its process cut off goes on once the agent is thawed."""
    gate = Gate()
    monkeypatch.setattr(Shop, "model", gate)
    with Runtime(storage, drain_timeout=0) as runtime:
        runtime.get(Shop, "ada").ask(Shop.say, "hi")
        assert gate.entered.wait(PATIENCE)

    monkeypatch.setattr(Shop, "model", model)
    with Runtime(storage) as runtime:
        watch = Watch(runtime, ConversationAnswered)
        assert len(runtime.get(Shop, "ada").ask(Shop.messages)) == 1
        watch.wait_for(ConversationAnswered)
        assert Conversation(runtime.get(Shop, "ada")).wait().answer == "You said: hi"


def test_a_stop_does_not_wait_for_the_end_of_a_run(
    storage: Storage, model: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that stops ends the step under way; the run goes on in the next one."""
    gate = Gate()
    stopping: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()

    async def reply(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
        del messages, tools
        model.seen.append([])
        await gate.pass_through()
        stopper = threading.Thread(target=runtime.stop)
        stopper.start()
        stopping.put(stopper)
        while not runtime.manager.stopping:  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(0)
        return calls(call("charge", order=len(model.seen)))

    monkeypatch.setattr(Shop, "model", model)
    with monkeypatch.context() as patch, Runtime(storage) as runtime:
        patch.setattr(model, "reply", reply)
        letters = Watch(runtime, DeadLetter)
        runtime.get(Shop, "ada").ask(Shop.say, "hi")
        assert gate.entered.wait(PATIENCE)
        gate.open()
        stopper = stopping.get(timeout=PATIENCE)
        stopper.join(PATIENCE)
        assert not stopper.is_alive()
    assert len(model.seen) == 1
    assert (effects, letters.events) == ([], [])

    with Runtime(storage) as runtime:
        assert Conversation(runtime.get(Shop, "ada")).wait().answer == "You said: charged"
    assert effects == ["charge 1"]


def test_nothing_depends_on_memory(storage: Storage, model: Script) -> None:
    """A whole run works for an agent that hibernates after every message."""
    model.replies += [
        calls(call("price", item="tea"), call("charge", order=7), call("plan", thing="x")),
        "done",
    ]
    with Runtime(storage, always_thaw=True) as runtime:
        ref = runtime.get(Shop, "ada")
        assert Conversation(ref).say("go").answer == "done"
        assert ref.proxy().scratchpad.get() == {"x": 0}
    assert effects == ["price tea", "charge 7"]


def test_async_code_awaits(storage: Storage, model: Script) -> None:
    """Everything can be awaited on the caller's own loop."""
    model.replies += ["one", OSError("no net"), "two"]

    async def use() -> list[str]:
        async with Runtime(storage) as runtime:
            chat = Conversation(runtime.get(Shop, "ada"))
            first = await chat.asay("1")
            with pytest.raises(ModelFailedError):
                await chat.asay("2")
            second = await chat.aretry()
            return [first.text, second.text, (await chat.await_()).text]

    assert asyncio.run(use()) == ["one", "two", "two"]


def test_tools_work_on_the_agent(
    ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """A tool that takes the agent changes its state, in the turn of its result."""
    model.replies += [calls(call("plan", thing="tea")), "planned"]
    chat.say("plan tea")
    ref.hibernate()

    assert ref.proxy().scratchpad.get() == {"tea": 0}


def test_model_and_tools_may_be_chosen(runtime: Runtime) -> None:
    """An agent may choose model, tools and instructions by its state, none of it stored."""

    class Chooser(ConversationAgent):
        models: ClassVar[dict[str, Script]] = {"a": Script("from a"), "b": Script("from b")}
        which: str = "a"

        def get_model(self) -> Script:
            return self.models[self.which]

        def get_instructions(self) -> str:
            return f"Be {self.which}."

    chats = [Conversation(runtime.get(Chooser, which, initial={"which": which})) for which in "ab"]
    assert [chat.say("hi").answer for chat in chats] == ["from a", "from b"]
    assert Chooser.models["b"].seen[0][0].text == "Be b."


def test_two_processes_share_a_conversation(storage: Storage, model: Script) -> None:
    """Two runtimes on one storage take turns in a conversation and lose nothing (W-19)."""
    with Runtime(storage) as one, Runtime(storage) as other:
        for n in range(3):
            for runtime in (one, other):
                Conversation(runtime.get(Shop, "ada")).say(f"{n}")

    assert [text for text in model.texts() if not text.startswith("You")] == list("001122")


def test_todos_and_metadata_are_kept(runtime: Runtime) -> None:
    """Todos and metadata are fields, saved and restored."""

    class Planner(ConversationAgent):
        def plan(self) -> None:
            self.todos.append(Todo(content="tea"))
            self.metadata["by"] = "ada"

    planner = runtime.get(Planner, "x")
    planner.ask(Planner.plan)
    planner.hibernate()

    assert planner.proxy().todos.get() == [Todo(content="tea", status="pending")]
    assert planner.proxy().metadata.get() == {"by": "ada"}
