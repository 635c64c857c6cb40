"""A turn is a transaction: all that it did is kept, or nothing of it."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# A script may be any callable.

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import PrivateAttr

from tests.runtime.kit import Scripted, activation_of, saved_count, spoil
from torpor import Agent, Runtime

if TYPE_CHECKING:
    from torpor.storage import Storage
    from torpor.storage.faulty import FaultyStorage


def test_a_failed_turn_leaves_fields_as_before(any_storage: Storage) -> None:
    """If the handler raises, the fields are as before the turn (DESIGN 5, Turn, HC-32)."""
    with Runtime(any_storage) as runtime:
        agent = runtime.get(Scripted, "a")
        agent.ask(Scripted.add, 3)

        with pytest.raises(LookupError):
            agent.ask(Scripted.do, spoil)

        assert agent.ask(Scripted.do, lambda me: (me.count, me.log)) == (3, ())
        assert saved_count(any_storage, agent) == 3


def test_a_failed_turn_leaves_the_thread_as_before(any_storage: Storage) -> None:
    """If the handler raises, its thread entries are gone, seen from inside and after a thaw."""
    with Runtime(any_storage) as runtime:
        agent = runtime.get(Scripted, "a")
        agent.ask(Scripted.note, "kept")

        with pytest.raises(LookupError):
            agent.ask(Scripted.do, spoil)

        assert agent.ask(Scripted.notes) == ["kept"]
        agent.hibernate()
        assert agent.ask(Scripted.notes) == ["kept"]
        assert agent.ask(Scripted.note, "next") == 2


def test_a_failed_turn_drops_the_tells_that_it_held(runtime: Runtime) -> None:
    """If the handler raises, what it told others was never told (DESIGN 5, Turn)."""
    sender, receiver = runtime.get(Scripted, "sender"), runtime.get(Scripted, "receiver")

    def tell_and_fail(_: Scripted) -> None:
        receiver.tell(Scripted.add, 5)
        message = "no"
        raise LookupError(message)

    with pytest.raises(LookupError):
        sender.ask(Scripted.do, tell_and_fail)
    sender.ask(Scripted.do, lambda _: receiver.tell(Scripted.add, 1))

    assert receiver.ask(Scripted.read) == 1


def test_the_caller_gets_the_very_exception(runtime: Runtime) -> None:
    """What a handler raises reaches its caller as the same object (DESIGN 5, Turn)."""
    error = LookupError("mine")

    def fail(_: Scripted) -> None:
        raise error

    with pytest.raises(LookupError) as raised:
        runtime.get(Scripted, "a").ask(Scripted.do, fail)

    assert raised.value is error


def test_a_failed_turn_writes_nothing(runtime: Runtime, storage: FaultyStorage) -> None:
    """A rolled back turn is no reason to save (DESIGN 5, Turn; Records 5)."""
    with pytest.raises(LookupError):
        runtime.get(Scripted, "a").ask(Scripted.do, spoil)

    assert storage.calls["commit"] == 0


def test_a_failed_turn_may_have_read_what_it_changed(runtime: Runtime) -> None:
    """The rollback base is the state after the last finished turn, not the stored one."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add, 1)
    agent.ask(Scripted.add, 1)

    with pytest.raises(LookupError):
        agent.ask(Scripted.do, spoil)

    assert agent.ask(Scripted.add, 1) == 3


def test_a_rollback_keeps_the_object(runtime: Runtime) -> None:
    """Fields are decoded back into the same agent object (DESIGN 5, Turn)."""
    agent = runtime.get(Scripted, "a")
    before = agent.ask(Scripted.do, id)

    with pytest.raises(LookupError):
        agent.ask(Scripted.do, spoil)

    assert agent.ask(Scripted.do, id) == before


class Remembering(Scripted):
    """Has something private."""

    _seen: list[str] = PrivateAttr(default_factory=list[str])

    def fail_after(self, text: str) -> None:
        """Note ``text`` privately, and fail."""
        self._seen.append(text)
        raise LookupError(text)

    def seen(self) -> list[str]:
        """Return what was noted."""
        return self._seen


def test_private_attributes_are_not_rolled_back(runtime: Runtime) -> None:
    """Private attributes are neither saved nor rolled back (DESIGN 1)."""
    agent = runtime.get(Remembering, "a")

    with pytest.raises(LookupError):
        agent.ask(Remembering.fail_after, "noted")

    assert agent.ask(Remembering.seen) == ["noted"]
    agent.hibernate()
    assert agent.ask(Remembering.seen) == []


def test_a_mutated_field_is_a_change(runtime: Runtime, storage: FaultyStorage) -> None:
    """A change deep inside a field is noticed, saved and rolled back like any other."""

    class Basket(Agent):
        items: dict[str, list[int]] = {}  # noqa: RUF012 - pydantic copies it

        def put(self, n: int, *, fail: bool = False) -> int:
            self.items.setdefault("all", []).append(n)
            if fail:
                raise LookupError(n)
            return len(self.items["all"])

    agent = runtime.get(Basket, "a")
    agent.ask(Basket.put, 1)
    with pytest.raises(LookupError):
        agent.ask(Basket.put, 2, fail=True)

    assert agent.ask(Basket.put, 3) == 2
    stored = storage.get_checkpoint(agent.address)
    assert stored is not None
    assert stored.value == {"items": {"all": [1, 3]}}


def test_a_failed_turn_is_counted_and_leaves_the_agent_at_rest(runtime: Runtime) -> None:
    """After a failed turn nothing runs, nothing waits, nothing is unsaved."""
    agent = runtime.get(Scripted, "a")

    with pytest.raises(LookupError):
        agent.ask(Scripted.do, spoil)

    status = agent.status()
    assert (status.running, status.waiting, status.unsaved) == (False, 0, False)
    assert activation_of(agent, runtime).claimed is False
    assert runtime.stats().turns == 1
