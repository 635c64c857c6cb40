"""Conversations saved and loaded by thread id, on a bare storage."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor import (
    Agent,
    ConflictError,
    CorruptRecordError,
    IncompleteSnapshotError,
    InvalidKeyError,
    Runtime,
    SchemaVersionError,
    UnserializableError,
)
from torpor.conversation import AgentSnapshot, Checkpointer, Todo
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from torpor.storage import Storage
    from torpor.storage.faulty import Operation


def said(*texts: str) -> list[dict[str, Any]]:
    """Return messages of a user."""
    return [{"role": "user", "content": text} for text in texts]


@pytest.fixture
def checkpointer(storage: Storage) -> Checkpointer:
    """Return a checkpointer on ``storage``."""
    return Checkpointer(storage)


def load(checkpointer: Checkpointer, thread_id: str, tail: int | None = None) -> AgentSnapshot:
    """Load what must be there."""
    snapshot = checkpointer.load(thread_id, tail=tail)
    assert snapshot is not None
    return snapshot


def test_everything_comes_back(storage: Storage, checkpointer: Checkpointer) -> None:
    """Messages, todos, interrupt and metadata are there after a restart (RS-1, RS-2, W-24)."""
    snapshot = AgentSnapshot(
        messages=[*said("hi"), {"role": "assistant", "content": None, "calls": [{"n": 1.5}]}],
        todos=[Todo(content="greet", status="completed"), Todo(content="help")],
        current_interrupt={"type": "human_in_loop", "tool_name": "refund"},
        metadata={"user": "ada", "nested": {"é": [1, None]}},
        scratchpad={"draft": "x"},
    )
    rev = checkpointer.save("ada/1", snapshot)

    loaded = load(Checkpointer(storage), "ada/1")

    assert loaded == snapshot
    assert loaded is not snapshot
    assert loaded.rev == rev


def test_missing_is_none_and_delete_is_idempotent(checkpointer: Checkpointer) -> None:
    """What was never saved loads as None; deleting it is no error, twice neither (RS-1)."""
    assert checkpointer.load("ada") is None
    checkpointer.delete("ada")

    checkpointer.save("ada", AgentSnapshot(messages=said("hi")))
    checkpointer.delete("ada")
    checkpointer.delete("ada")

    assert checkpointer.load("ada") is None
    assert list(checkpointer.list()) == []


def test_a_deleted_conversation_begins_anew(checkpointer: Checkpointer) -> None:
    """After delete the same id holds only what is saved from then on."""
    checkpointer.save("ada", AgentSnapshot(messages=said("old", "older")))
    checkpointer.delete("ada")
    checkpointer.save("ada", AgentSnapshot(messages=said("new"), rev=0))

    assert load(checkpointer, "ada").messages == said("new")


def test_a_save_by_hand_replaces(checkpointer: Checkpointer) -> None:
    """A snapshot without a revision replaces what is stored, whatever it is (RS-1)."""
    checkpointer.save("ada", AgentSnapshot(messages=said("a", "b"), metadata={"n": 1}))
    checkpointer.save("ada", AgentSnapshot(messages=said("c")))

    loaded = load(checkpointer, "ada")
    assert (loaded.messages, loaded.metadata) == (said("c"), {})


def test_a_stale_save_is_refused(checkpointer: Checkpointer) -> None:
    """Of two who loaded the same revision the second to save gets a conflict (W-19)."""
    checkpointer.save("ada", AgentSnapshot(messages=said("hi")))
    first, second = load(checkpointer, "ada"), load(checkpointer, "ada")
    first.messages += said("first")
    second.messages += said("second")
    checkpointer.save("ada", first)

    with pytest.raises(ConflictError) as caught:
        checkpointer.save("ada", second)

    assert (caught.value.expected, caught.value.found) == (1, 2)
    assert load(checkpointer, "ada").messages == said("hi", "first")


def test_revision_zero_only_creates(checkpointer: Checkpointer) -> None:
    """A snapshot with revision 0 is refused where there is one."""
    checkpointer.save("ada", AgentSnapshot(rev=0))

    with pytest.raises(ConflictError):
        checkpointer.save("ada", AgentSnapshot(messages=said("hi"), rev=0))


def test_a_loop_may_go_on_saving_the_same_value(checkpointer: Checkpointer) -> None:
    """Each save notes its revision in the snapshot, so that the next one follows it."""
    snapshot = AgentSnapshot(rev=0)
    for text in "abc":
        snapshot.messages += said(text)
        checkpointer.save("ada", snapshot)

    assert load(checkpointer, "ada") == snapshot


def test_a_tail_is_loaded_and_saved(checkpointer: Checkpointer) -> None:
    """A conversation loaded in part goes on; what was not loaded stays (bounded loading)."""
    checkpointer.save("ada", AgentSnapshot(messages=said(*"abcde")))
    snapshot = load(checkpointer, "ada", tail=2)
    assert (snapshot.messages, snapshot.offset) == (said("d", "e"), 3)

    snapshot.messages += said("f")
    snapshot.todos.append(Todo(content="go on"))
    checkpointer.save("ada", snapshot)

    loaded = load(checkpointer, "ada")
    assert (loaded.messages, loaded.offset) == (said(*"abcdef"), 0)
    assert loaded.todos == [Todo(content="go on")]
    assert load(checkpointer, "ada", tail=0).offset == 6
    assert load(checkpointer, "ada", tail=99) == loaded


@pytest.mark.parametrize("tail", [None, 2])
def test_changed_messages_replace_the_history(checkpointer: Checkpointer, tail: int | None) -> None:
    """A message changed after it was saved is stored as it is now, once, in its place."""
    checkpointer.save("ada", AgentSnapshot(messages=said(*"abcd")))
    snapshot = load(checkpointer, "ada", tail)
    snapshot.messages[-2] = {"role": "user", "content": "edited"}
    snapshot.messages += said("e")
    checkpointer.save("ada", snapshot)

    texts = [message["content"] for message in load(checkpointer, "ada").messages]
    assert texts == ["a", "b", "edited", "d", "e"]


def test_removed_messages_are_gone(checkpointer: Checkpointer) -> None:
    """Saving fewer messages stores fewer, down to none at all."""
    snapshot = AgentSnapshot(messages=said(*"abc"))
    checkpointer.save("ada", snapshot)
    for count in (2, 0):
        del snapshot.messages[count:]
        checkpointer.save("ada", snapshot)
        assert load(checkpointer, "ada").messages == said(*"abc")[:count]
    snapshot.messages += said("z")
    checkpointer.save("ada", snapshot)
    assert load(checkpointer, "ada").messages == said("z")


def test_a_tail_needs_what_was_before_it(checkpointer: Checkpointer) -> None:
    """A part of one conversation can't be saved as another whole one."""
    checkpointer.save("ada", AgentSnapshot(messages=said(*"abc")))
    part = load(checkpointer, "ada", tail=1)
    part.rev = None

    with pytest.raises(IncompleteSnapshotError):
        checkpointer.save("bob", part)
    assert checkpointer.load("bob") is None


def test_an_appending_save_costs_the_same_at_any_length() -> None:
    """A save that appends reads and writes as much after 2,000 messages as after 20 (W-31)."""
    with FaultyStorage(MemoryStorage(), record=True) as storage:
        checkpointer = Checkpointer(storage)
        costs: list[tuple[dict[Operation, int], int, int]] = []
        for length in (20, 2000):
            checkpointer.save(f"{length}", AgentSnapshot(messages=said(*["x"] * length)))
            for tail in (None, 5):
                snapshot = load(checkpointer, f"{length}", tail)
                snapshot.messages += said("new")
                storage.calls.clear()
                checkpointer.save(f"{length}", snapshot)
                [change] = storage.batches[-1]
                assert change.thread is not None
                assert change.put is not None
                size = len(change.thread.entries), len(change.put.data)
                costs.append((dict(storage.calls), *size))

    assert costs[:2] == costs[2:]


def test_an_unchanged_snapshot_is_not_written(checkpointer: Checkpointer) -> None:
    """Saving what is stored already makes no new revision (W-33)."""
    snapshot = AgentSnapshot(messages=said("hi"), metadata={"b": 1, "a": 2})
    rev = checkpointer.save("ada", snapshot)

    assert checkpointer.save("ada", snapshot) == rev
    assert checkpointer.save("ada", load(checkpointer, "ada", tail=0)) == rev
    assert checkpointer.save("none", AgentSnapshot()) == checkpointer.save("none", AgentSnapshot())


def test_listing_is_paged_and_by_prefix(checkpointer: Checkpointer) -> None:
    """Ids are listed page by page, by prefix, with the number of messages (RS-1, W-36)."""
    for name in ("ada/1", "ada/2", "ada/3", "bob/1"):
        checkpointer.save(name, AgentSnapshot(messages=said(*name)))

    first = checkpointer.list("ada/", limit=2)
    second = checkpointer.list("ada/", limit=2, cursor=first.cursor)

    found = [(info.thread_id, info.messages, info.rev) for info in (*first, *second)]
    assert sorted(found) == [(f"ada/{n}", 5, 1) for n in (1, 2, 3)]
    assert (len(first), second.cursor) == (2, None)
    assert len(checkpointer.list()) == 4


@pytest.mark.parametrize("thread_id", ["", "  ", "\n", "a\0b", "x" * 513, 7])
def test_ids_that_name_nobody_are_refused(checkpointer: Checkpointer, thread_id: Any) -> None:
    """A blank, too long or non-text id is refused: nobody shares a conversation (W-23)."""
    for operation in (checkpointer.load, checkpointer.delete):
        with pytest.raises(InvalidKeyError):
            operation(thread_id)
    with pytest.raises(InvalidKeyError):
        checkpointer.save(thread_id, AgentSnapshot())


@pytest.mark.parametrize("thread_id", ["../x", "/", "a b", "é#1", "a#b/c", "'; drop--", " a"])
def test_any_other_id_is_one_of_its_own(checkpointer: Checkpointer, thread_id: str) -> None:
    """Ids that look like paths, marks or queries are plain text (W-30)."""
    checkpointer.save(thread_id, AgentSnapshot(messages=said(thread_id)))
    checkpointer.save("x", AgentSnapshot(messages=said("x")))

    assert load(checkpointer, thread_id).messages == said(thread_id)
    assert {info.thread_id for info in checkpointer.list()} == {thread_id, "x"}


def test_namespaces_and_agents_are_apart(storage: Storage) -> None:
    """The same id in two namespaces is two conversations, and neither is an agent's."""

    class Snapshots(Agent, kind="snapshots"):
        pass

    one, other = Checkpointer(storage), Checkpointer(storage, namespace="other")
    one.save("ada", AgentSnapshot(messages=said("one")))
    other.save("ada", AgentSnapshot(messages=said("other")))

    assert load(one, "ada").messages == said("one")
    assert [info.thread_id for info in other.list()] == ["ada"]
    with Runtime(storage) as runtime:
        assert runtime.thaw(Snapshots, "ada") is None
    with pytest.raises(InvalidKeyError):
        Checkpointer(storage, namespace="a:b")


@pytest.mark.parametrize("value", [{1: 2}, {"x": {1, 2}}, {"x": float("nan")}, {"x": b"y"}])
def test_what_is_no_json_is_refused_whole(checkpointer: Checkpointer, value: Any) -> None:
    """A value that would not come back the same is refused, and nothing is stored."""
    for snapshot in (AgentSnapshot(metadata={"v": value}), AgentSnapshot(messages=[{"v": value}])):
        with pytest.raises(UnserializableError):
            checkpointer.save("ada", snapshot)
    assert checkpointer.load("ada") is None


def test_older_snapshots_are_read_with_defaults(storage: Storage) -> None:
    """Fields that an older version did not store have their defaults (W-24)."""
    storage.put_checkpoint("snapshots:ada", {"metadata": {"n": 1}})

    assert load(Checkpointer(storage), "ada") == AgentSnapshot(metadata={"n": 1}, rev=1)


def test_newer_and_foreign_records_are_left_alone(storage: Storage) -> None:
    """A snapshot of a newer version, or no snapshot at all, is neither read nor replaced."""
    storage.put_checkpoint("snapshots:newer", {}, version=2)
    storage.put_checkpoint("snapshots:foreign", [1, 2])
    checkpointer = Checkpointer(storage)
    errors = {"newer": SchemaVersionError, "foreign": CorruptRecordError}
    for name, error in errors.items():
        with pytest.raises(error):
            checkpointer.load(name)
        with pytest.raises(error):
            checkpointer.save(name, AgentSnapshot())


def test_async_twins_do_the_same(checkpointer: Checkpointer) -> None:
    """Each method has a twin for async code."""

    async def use() -> None:
        snapshot = AgentSnapshot(messages=said("a", "b"))
        assert await checkpointer.asave("ada", snapshot) == 1
        assert await checkpointer.aload("ada") == snapshot
        tail = await checkpointer.aload("ada", tail=1)
        assert tail is not None
        assert tail.offset == 1
        assert [info.thread_id for info in await checkpointer.alist("a", limit=1)] == ["ada"]
        await checkpointer.adelete("ada")
        assert await checkpointer.aload("ada") is None

    asyncio.run(use())


def test_concurrent_writers_lose_no_message(checkpointer: Checkpointer) -> None:
    """Writers that load again after a conflict keep every message of each other (W-30)."""

    def write(text: str) -> None:
        while True:
            snapshot = checkpointer.load("ada", tail=1) or AgentSnapshot(rev=0)
            snapshot.messages += said(text)
            try:
                checkpointer.save("ada", snapshot)
            except ConflictError:
                continue
            return

    texts = [f"{n}" for n in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, texts))

    messages = load(checkpointer, "ada").messages
    assert sorted(m["content"] for m in messages) == sorted(texts)


def test_a_failed_answer_is_sent_again(storage: Storage) -> None:
    """A save whose answer got lost is sent again and stored once."""
    faulty = FaultyStorage(storage)
    checkpointer = Checkpointer(faulty)
    checkpointer.save("ada", AgentSnapshot(messages=said("a")))
    snapshot = load(checkpointer, "ada")
    snapshot.messages += said("b")
    faulty.fail_next("commit", after=True)

    assert checkpointer.save("ada", snapshot) == 2
    assert load(checkpointer, "ada").messages == said("a", "b")


_histories = st.lists(st.lists(st.sampled_from("abc"), max_size=5), min_size=1, max_size=8)


@given(histories=_histories, tails=st.lists(st.none() | st.integers(0, 5), min_size=8))
def test_any_sequence_of_saves_loads_the_last(
    histories: list[list[str]], tails: list[int | None]
) -> None:
    """Whatever was saved before, load returns what was saved last, whole and in part."""
    with MemoryStorage() as storage:
        checkpointer = Checkpointer(storage)
        for texts, tail in zip(histories, tails, strict=False):
            stored = checkpointer.load("ada", tail=tail) or AgentSnapshot()
            expected = load(checkpointer, "ada").messages[: stored.offset] if stored.offset else []
            stored.messages = said(*texts)
            checkpointer.save("ada", stored)
            assert load(checkpointer, "ada").messages == [*expected, *said(*texts)]
            recent = load(checkpointer, "ada", 2)
            assert recent.messages == [*expected, *said(*texts)][recent.offset :]
