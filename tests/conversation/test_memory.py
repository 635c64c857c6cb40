"""What a conversation remembers, how much of it is loaded, and how it is made shorter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conversation.kit import Script, Shop, call, calls
from torpor import ConversationBusyError, InvalidArgumentsError, Runtime
from torpor.conversation import AgentSnapshot, Checkpointer, Conversation, Todo
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torpor import AgentRef
    from torpor.storage import Entry, Storage


class Counting(MemoryStorage):
    """Counts the entries that are read."""

    entries_read = 0

    def _read_entries(  # noqa: PLR0913 - see Storage
        self,
        thread_id: str,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None,
        limit: int | None,
        newest: bool,
    ) -> Sequence[Entry]:
        entries = super()._read_entries(
            thread_id, start, stop, kinds=kinds, limit=limit, newest=newest
        )
        self.entries_read += len(entries)
        return entries


def test_the_model_is_shown_a_tail(
    chat: Conversation[Shop], model: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is shown at most ``tail`` messages, from one of the user's on."""
    monkeypatch.setattr(Shop, "tail", 4)
    for text in "abcd":
        chat.say(text)

    assert model.texts() == ["c", "You said: c", "d"]


def test_a_tail_that_cuts_a_run_begins_with_a_call(
    chat: Conversation[Shop], model: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results whose calls are beyond the tail are not shown."""
    monkeypatch.setattr(Shop, "tail", 4)
    model.replies += [
        calls(call("price", item="tea"), call("price", item="cake")),
        calls(call("price", item="bread")),
    ]
    chat.say("how much?")

    assert [message.role for message in model.seen[-1][1:]] == ["assistant", "tool"]


def test_a_long_conversation_costs_no_more(model: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thawing a conversation and answering reads its tail, however long it is (W-24, W-31)."""
    monkeypatch.setattr(Shop, "tail", 10)
    read: list[int] = []
    with Counting() as storage, Runtime(storage) as runtime:
        for length in (50, 1500):
            ref = runtime.get(Shop, f"{length}")
            texts = [{"role": "user", "content": "x"}] * length
            ref.ask(Shop.load_state, AgentSnapshot(messages=texts))
            ref.hibernate()
            storage.entries_read = 0
            Conversation(ref).say("hi")
            read.append(storage.entries_read)

    assert read[0] == read[1] <= 10
    assert len(model.seen[-1]) == 11


def test_compaction_puts_a_summary_in_place(
    ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """The model's summary stands for all but the newest messages; those stay in the thread."""
    for text in "abc":
        chat.say(text)
    model.replies.append("a and b were said")

    assert ref.ask(Shop.compact, keep=2) == "a and b were said"
    assert model.texts()[:-1] == ["a", "You said: a", "b", "You said: b"]
    assert "Summarise" in model.texts()[-1]

    ref.hibernate()
    chat.say("d")
    assert model.texts() == ["c", "You said: c", "d"]
    assert model.seen[-1][1].text == "Summary of the conversation: a and b were said"
    assert len(ref.ask(Shop.messages)) == 8
    assert [m.text for m in ref.ask(Shop.messages, 8)][:2] == ["a", "You said: a"]


def test_a_later_summary_includes_the_earlier(
    ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """What is summarised again begins with the summary so far."""
    for text in "ab":
        chat.say(text)
        ref.ask(Shop.compact, keep=0, summary=f"up to {text}")
    chat.say("c")
    model.replies.append("all")
    ref.ask(Shop.compact, keep=0)

    assert [m.text for m in model.seen[-1]][:2] == ["Summary of the conversation: up to b", "c"]
    chat.say("d")
    assert model.texts() == ["d"]


def test_trimming_removes_what_was_summarised(
    runtime: Runtime, ref: AgentRef[Shop], chat: Conversation[Shop]
) -> None:
    """On request what the summary stands for is removed from the storage."""
    for text in "abc":
        chat.say(text)
    ref.ask(Shop.compact, keep=2, summary="a, b", trim=True)
    chat.say("d")
    ref.hibernate()

    copy = runtime.thaw(Shop, "ada")
    assert copy is not None
    assert (copy.thread.start, copy.thread.rev) == (4, 9)
    assert [e.kind for e in copy.thread.entries()][:3] == ["message", "message", "summary"]
    assert [m.text for m in ref.ask(Shop.messages)] == ["c", "You said: c", "d", "You said: d"]


def test_nothing_to_compact(ref: AgentRef[Shop], chat: Conversation[Shop], model: Script) -> None:
    """Without older messages nothing is summarised, and the model is not asked."""
    assert ref.ask(Shop.compact, keep=0) is None
    chat.say("a")
    for keep in (2, 5):
        assert ref.ask(Shop.compact, keep=keep) is None
    assert len(model.seen) == 1


def test_a_failing_summary_changes_nothing(
    ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """If the model gives no summary the conversation is as it was."""
    chat.say("a")
    model.replies.append(OSError("no net"))
    with pytest.raises(OSError, match="no net"):
        ref.ask(Shop.compact, keep=0)

    chat.say("b")
    assert model.texts() == ["a", "You said: a", "b"]


def test_a_conversation_at_work_is_not_cut(
    ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """While something waits for a human neither compaction nor load_state is possible."""
    model.replies.append(calls(call("refund", order=1)))
    chat.say("refund")

    with pytest.raises(ConversationBusyError):
        ref.ask(Shop.compact)
    with pytest.raises(ConversationBusyError):
        ref.ask(Shop.load_state, AgentSnapshot())


def test_state_moves_by_a_checkpointer(
    storage: Storage, runtime: Runtime, ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """What save_state returns can be saved, loaded and gone on from by another (RS-5)."""
    model.replies += [calls(call("price", item="tea"), call("plan", thing="x")), "three"]
    chat.say("how much?")
    checkpointer = Checkpointer(storage)
    checkpointer.save("ada", ref.ask(Shop.save_state))

    loaded = checkpointer.load("ada")
    assert loaded is not None
    loaded.todos.append(Todo(content="buy"))
    other = runtime.get(Shop, "bob")
    Conversation(other).say("hello")
    other.ask(Shop.load_state, loaded)
    other.hibernate()
    Conversation(other).say("thanks")

    assert model.texts() == ["how much?", "", "3", "kept", "three", "thanks"]
    assert other.proxy().todos.get() == [Todo(content="buy")]
    assert other.proxy().scratchpad.get() == {"x": 0}
    assert other.ask(Shop.messages)[0].text == "hello"


def test_saved_state_holds_the_summary(ref: AgentRef[Shop], chat: Conversation[Shop]) -> None:
    """A compacted conversation is saved as the model is shown it."""
    chat.say("a")
    ref.ask(Shop.compact, keep=0, summary="a was said")
    chat.say("b")

    texts = [message["content"] for message in ref.ask(Shop.save_state).messages]
    assert texts == ["Summary of the conversation: a was said", "b", "You said: b"]


def test_saved_state_names_the_interrupt(
    runtime: Runtime, ref: AgentRef[Shop], chat: Conversation[Shop], model: Script
) -> None:
    """What waits for a human is in the snapshot, but can't be loaded: it would wait twice."""
    model.replies.append(calls(call("refund", order=1)))
    chat.say("refund")
    snapshot = ref.ask(Shop.save_state)

    assert snapshot.current_interrupt is not None
    assert snapshot.current_interrupt["tool_args"] == {"order": 1}
    with pytest.raises(InvalidArgumentsError, match="no result of refund-1"):
        runtime.get(Shop, "other").ask(Shop.load_state, snapshot)


@pytest.mark.parametrize("message", [{"role": "nobody"}, {"content": "x"}])
def test_messages_that_are_none_are_refused(
    ref: AgentRef[Shop], chat: Conversation[Shop], message: dict[str, str]
) -> None:
    """A snapshot with other messages than conversations have is refused whole."""
    chat.say("a")
    with pytest.raises(InvalidArgumentsError):
        ref.ask(Shop.load_state, AgentSnapshot(messages=[message]))
    assert len(ref.ask(Shop.save_state).messages) == 2
