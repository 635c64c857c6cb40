"""Conversations of which something is stored that cannot be: what fuzzing found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conversation.kit import Script, Shop, call, calls
from tests.fuzz.kit import payloads_of, tampered
from torpor import Runtime, ThawError
from torpor.conversation import AgentSnapshot, Checkpointer, Conversation, pending_interrupts
from torpor.storage import Change, Entry, Put, ThreadWrite
from torpor.storage.errors import CorruptRecordError
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage import Storage

MESSAGES = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]


@pytest.fixture
def memory() -> Iterator[Storage]:
    """Return a storage with a snapshot."""
    with MemoryStorage() as storage:
        Checkpointer(storage).save("t", AgentSnapshot(messages=list(MESSAGES)))
        yield storage


@pytest.mark.parametrize("data", ["{", "[1]", '{"todos":[7]}', '{"metadata":null}', "[" * 10_000])
def test_snapshot_that_is_none(memory: Storage, data: str) -> None:
    """It is neither loaded nor saved over."""
    tampered(memory, "snapshots:t", data)
    loaded = Checkpointer(memory)

    with pytest.raises(CorruptRecordError, match="snapshots:t"):
        loaded.load("t")
    if not data.startswith("{"):
        with pytest.raises(CorruptRecordError):
            loaded.save("t", AgentSnapshot(messages=list(MESSAGES)))


def test_message_without_its_digest(memory: Storage) -> None:
    """A part of a conversation is not saved behind what is no message."""
    entry = Entry(kind="message", payload={}, at=1.0, id="e")
    thread = ThreadWrite(id="snapshots:t#other", entries=(entry,))
    put = Put(data='{"digest":"x"}', kind="agent_snapshot")
    memory.commit([Change(key="snapshots:t", put=put, thread=thread)])

    with pytest.raises(CorruptRecordError, match="no message"):
        Checkpointer(memory).save("t", AgentSnapshot(messages=[], offset=1))


@pytest.fixture
def paused() -> Iterator[Storage]:
    """Return a storage with two agents that wait for a human."""
    with MemoryStorage() as storage, Runtime(storage) as runtime:
        for key in ("a", "b"):
            Shop.model = Script(calls(call("refund", order=7)))
            agent = runtime.get(Shop, key)
            Conversation(agent).say("Pay back.")
            agent.hibernate()
        yield storage


@pytest.mark.parametrize(
    ("name", "value"), [("created_at", 1e18), ("created_at", -1e12), ("tool_args", 7)]
)
def test_inbox_leaves_out_what_is_damaged(paused: Storage, name: str, value: Any) -> None:
    """A call that cannot be keeps no other from being shown; its agent is not thawed."""
    checkpoint = paused.get_checkpoint("shop/a")
    assert checkpoint is not None
    fields = checkpoint.value
    fields["loop"]["calls"][0][name] = value
    tampered(paused, "shop/a", json.dumps(fields, separators=(",", ":")))

    assert [waiting.key for waiting in pending_interrupts(paused, Shop)] == ["b"]
    with Runtime(paused) as runtime, pytest.raises(ThawError):
        runtime.get(Shop, "a").ask(Shop.pending)


@pytest.mark.parametrize(
    "payload", [None, 7, {}, {"role": "nobody"}, {"role": "user", "content": 7}]
)
def test_message_that_is_none(paused: Storage, payload: Any) -> None:
    """Whoever asks for messages is told that one is damaged."""
    checkpoint = paused.get_checkpoint("shop/a")
    assert checkpoint is not None
    payloads = payloads_of(paused, "shop/a")
    tampered(paused, "shop/a", checkpoint.data, [payload, *payloads[1:]])

    with Runtime(paused) as runtime, pytest.raises(CorruptRecordError, match="no message"):
        runtime.get(Shop, "a").ask(Shop.messages)
