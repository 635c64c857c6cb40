"""Damaged conversations: of the checkpointer, and of agents with a model and tools."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from tests.conversation.kit import Script, Shop, call, calls
from tests.fuzz.damage import ANYTHING, array_of, changed, junk, mutated, text_of
from tests.fuzz.kit import payloads_of, quiet, tampered
from tests.fuzz.test_agents import calm
from torpor import Runtime
from torpor.conversation import (
    AgentSnapshot,
    Checkpointer,
    Conversation,
    Todo,
    pending_interrupts,
)
from torpor.storage.errors import TorporError, UnserializableError
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from torpor import AgentRef

SNAPSHOT = "snapshots:t"
MESSAGES = [{"role": "user", "content": f"é {number}"} for number in range(3)]


def _saved() -> str:
    with MemoryStorage() as storage:
        Checkpointer(storage).save("t", _snapshot())
        found = storage.get_checkpoint(SNAPSHOT)
        assert found is not None
        return found.data


def _snapshot() -> AgentSnapshot:
    return AgentSnapshot(
        messages=list(MESSAGES),
        todos=[Todo(content="x", status="completed")],
        current_interrupt={"call_id": "c"},
        metadata={"m": [1]},
    )


STATE = _saved()


def states(sound: str) -> st.SearchStrategy[str]:
    """Return what may stand in place of a state."""
    return st.one_of(
        changed(json.loads(sound)).map(text_of),
        mutated(sound.encode()).map(lambda data: data.decode("utf-8", "replace")),
        junk.map(lambda data: data.decode("utf-8", "replace")),
    )


@given(state=st.just(STATE) | states(STATE), messages=changed(MESSAGES))
def test_snapshot(state: str, messages: Any) -> None:
    """It is loaded, and gone on with, or a typed error, and then it stays as it is (W-10)."""
    with MemoryStorage() as storage:
        checkpointer = Checkpointer(storage)
        checkpointer.save("t", _snapshot())
        with suppress(UnserializableError):
            _tamper(storage, SNAPSHOT, state, _as_many(messages, MESSAGES))
        before = storage.get_checkpoint(SNAPSHOT)
        assert len(checkpointer.list()) == 1
        for tail in (None, 1):
            try:
                loaded = checkpointer.load("t", tail=tail)
            except TorporError:
                assert storage.get_checkpoint(SNAPSHOT) == before
                continue
            assert loaded is not None
            loaded.messages.append({"role": "user", "content": "more"})
            with suppress(TorporError):
                checkpointer.save("t", loaded)
        with suppress(TorporError):
            checkpointer.save("t", _snapshot())
        quiet()


def _as_many(payloads: Any, sound: list[Any]) -> list[Any] | None:
    found = array_of(payloads)
    return found if found is not None and len(found) == len(sound) else None


def _tamper(storage: MemoryStorage, key: str, state: str, payloads: list[Any] | None) -> None:
    try:
        tampered(storage, key, state, payloads)
    except AssertionError:  # which no storage takes: then the state alone
        tampered(storage, key, state)


def _paused() -> tuple[str, list[Any]]:
    """Return the state and the entries of an agent that waits for a human."""
    with MemoryStorage() as storage, Runtime(storage) as runtime:
        Shop.model = Script(calls(call("refund", order=7)))
        agent = runtime.get(Shop, "a")
        assert Conversation(agent).say("Pay back.").status == "paused"
        agent.hibernate()
        found = storage.get_checkpoint("shop/a")
        assert found is not None
        return found.data, payloads_of(storage, "shop/a")


PAUSED, SPOKEN = _paused()


@given(state=st.just(PAUSED) | states(PAUSED), payloads=changed(SPOKEN) | ANYTHING)
def test_conversation(state: str, payloads: Any) -> None:
    """An inbox shows what it can; the agent goes on, or its callers get typed errors (W-10)."""
    with MemoryStorage() as storage:
        Shop.model = Script(calls(call("refund", order=7)))
        with Runtime(storage) as runtime:
            Conversation(runtime.get(Shop, "a")).say("Pay back.")
        _tamper(storage, "shop/a", state, _as_many(payloads, SPOKEN))
        for waiting in pending_interrupts(storage, Shop):
            assert isinstance(waiting.interrupt.call_id, str)
        with calm(), Runtime(storage, wake_interval=None, timeout=20) as runtime:
            agent = runtime.get(Shop, "a")
            for use in (
                lambda: agent.ask(Shop.messages),
                lambda: agent.ask(Shop.pending),
                lambda: agent.ask(Shop.save_state),
                lambda: agent.ask(Shop.proceed),
                lambda: agent.ask(Shop.compact, keep=1, summary="short"),
                lambda: _reject(agent),
                lambda: agent.ask(Shop.say, "more"),
            ):
                with suppress(TorporError):
                    use()


def _reject(agent: AgentRef[Shop]) -> None:
    for interrupt in agent.ask(Shop.pending):
        agent.ask(Shop.reject, interrupt.call_id, by="h")
