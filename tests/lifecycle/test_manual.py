"""Detached copies: ``thaw`` and ``hibernate`` by hand, with and without a runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import torpor
from tests.lifecycle.kit import PATIENCE, Scripted, hooked, saved_count
from torpor import (
    ConfigurationError,
    ConflictError,
    InvalidKeyError,
    InvalidStateError,
    Runtime,
)

if TYPE_CHECKING:
    from torpor.storage import Storage


class Manual:
    """The two operations, of a runtime or of a bare storage."""

    def __init__(self, runtime: Runtime, *, bare: bool) -> None:
        self._runtime = runtime
        self._bare = bare

    def thaw(self, key: str, cls: type[Scripted] = Scripted, **where: Any) -> Scripted:
        """Return a copy that must be there."""
        copy = self.find(key, cls, **where)
        assert copy is not None
        return copy

    def find(self, key: str, cls: type[Scripted] = Scripted, **where: Any) -> Scripted | None:
        """Return a copy, None if nothing is stored."""
        if self._bare:
            return torpor.thaw(self._runtime.storage, cls, key, **where)
        return self._runtime.thaw(cls, key, **where)

    def hibernate(self, agent: Scripted, key: str | None = None, **where: Any) -> int:
        """Save a copy."""
        if self._bare:
            return torpor.hibernate(self._runtime.storage, agent, key, **where)
        return self._runtime.hibernate(agent, key, **where)


@pytest.fixture(params=["runtime", "storage"])
def manual(request: pytest.FixtureRequest, ticking: Runtime) -> Manual:
    """Return the operations of a runtime, and those of its storage."""
    return Manual(ticking, bare=request.param == "storage")


def test_a_copy_lives_nowhere_else(manual: Manual, ticking: Runtime) -> None:
    """What is done to it touches neither the live agent nor the storage (DESIGN 5, Manual)."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add, 5)
    agent.ask(Scripted.note, "one")

    copy = manual.thaw("a")
    copy.add(100)
    copy.note("two")

    assert copy.notes() == ["one", "two"]
    assert agent.ask(Scripted.read) == 5
    assert agent.ask(Scripted.notes) == ["one"]
    assert saved_count(ticking.storage, agent) == 5


def test_taking_a_copy_wakes_nobody(manual: Manual, ticking: Runtime) -> None:
    """The copy comes from the storage."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add)
    agent.hibernate()

    assert manual.thaw("a").count == 1
    assert manual.thaw("a") is not manual.thaw("a")
    assert ticking.live() == []


def test_nobody_is_none(manual: Manual) -> None:
    """No checkpoint, no copy: a fresh agent is not made up."""
    assert manual.find("a") is None


def test_a_saved_copy_goes_on(manual: Manual, ticking: Runtime) -> None:
    """Each save returns the new revision and is what the next one is compared with."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add)
    agent.hibernate()
    copy = manual.thaw("a")

    revisions: list[int] = []
    for text in ("one", "two"):
        copy.add()
        copy.note(text)
        revisions.append(manual.hibernate(copy))

    assert revisions == [2, 3]
    assert agent.ask(Scripted.read) == 3
    assert agent.ask(Scripted.notes) == ["one", "two"]


def test_a_stale_copy_is_refused(manual: Manual, ticking: Runtime) -> None:
    """Its revision is compared: whoever wrote since keeps what they wrote."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add)
    copy = manual.thaw("a")
    agent.ask(Scripted.add)

    copy.add(100)
    copy.note("never")
    with pytest.raises(ConflictError) as caught:
        manual.hibernate(copy)

    assert (caught.value.expected, caught.value.found) == (1, 2)
    assert caught.value.outcome == "not_applied"
    assert saved_count(ticking.storage, agent) == 2
    assert agent.ask(Scripted.notes) == []


def test_a_copy_of_who_was_deleted_is_refused(manual: Manual, ticking: Runtime) -> None:
    """A delete is a write like others: a copy does not bring anybody back (HC-30)."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add)
    copy = manual.thaw("a")
    agent.delete()

    with pytest.raises(ConflictError):
        manual.hibernate(copy)

    assert saved_count(ticking.storage, agent) is None


def test_a_live_agent_notices_a_saved_copy(manual: Manual, ticking: Runtime) -> None:
    """Its next save conflicts, and its turn runs again on what the copy left."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add)
    copy = manual.thaw("a")
    copy.add(10)
    manual.hibernate(copy)

    assert agent.submit(Scripted.add).get(timeout=PATIENCE) == 12


def test_an_agent_made_by_hand_needs_a_key(manual: Manual, ticking: Runtime) -> None:
    """With a key it is stored as a new agent, and then goes on as a copy of that one."""
    made = Scripted(count=7)
    with pytest.raises(InvalidKeyError):
        manual.hibernate(made)

    assert manual.hibernate(made, "a") == 1
    made.add()
    assert manual.hibernate(made) == 2

    assert ticking.get(Scripted, "a").ask(Scripted.read) == 8


def test_an_agent_made_by_hand_replaces_nobody(manual: Manual, ticking: Runtime) -> None:
    """A key that is stored already is a conflict."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add)

    with pytest.raises(ConflictError):
        manual.hibernate(Scripted(count=7), "a")

    assert saved_count(ticking.storage, agent) == 1


@pytest.mark.parametrize("elsewhere", [{"key": "b"}, {"partition": "acme"}])
def test_a_copy_is_saved_where_it_came_from(
    manual: Manual, ticking: Runtime, elsewhere: dict[str, str]
) -> None:
    """Another key or partition than its own is refused."""
    ticking.get(Scripted, "a").ask(Scripted.add)
    copy = manual.thaw("a")

    with pytest.raises(InvalidKeyError):
        manual.hibernate(copy, **elsewhere)

    assert manual.hibernate(copy, "a") == 2


def test_partitions_are_separate(manual: Manual, ticking: Runtime) -> None:
    """A copy knows its partition."""
    there = ticking.get(Scripted, "a", partition="acme")
    there.ask(Scripted.add, 5)

    assert manual.find("a") is None
    copy = manual.thaw("a", partition="acme")
    copy.add()
    manual.hibernate(copy)

    assert copy.id == "a"
    assert saved_count(ticking.storage, there) == 6


def test_a_live_agent_is_no_copy(manual: Manual, ticking: Runtime) -> None:
    """What lives in a runtime is saved by that runtime alone."""
    agent = ticking.get(Scripted, "a")

    with pytest.raises(ConfigurationError, match="lives in a runtime"):
        agent.ask(Scripted.do, manual.hibernate)


@pytest.mark.parametrize("name", ["ref", "runtime"])
def test_a_copy_has_no_surroundings(manual: Manual, ticking: Runtime, name: str) -> None:
    """It has no ref and no runtime; asking for them says why."""
    ticking.get(Scripted, "a").ask(Scripted.add)

    with pytest.raises(AttributeError, match="detached copy"):
        getattr(manual.thaw("a"), name)


def test_hooks_are_not_run(manual: Manual, ticking: Runtime) -> None:
    """A copy does not live: nothing greets it and nothing says goodbye."""
    cls = hooked(lambda me: me.write("bye"))
    agent = ticking.get(cls, "a")
    agent.ask(cls.add)

    copy = manual.thaw("a", cls)
    manual.hibernate(copy)

    assert copy.log == ()


def test_an_invalid_copy_is_refused(manual: Manual, ticking: Runtime) -> None:
    """What could not be thawed again is not stored."""
    agent = ticking.get(Scripted, "a")
    agent.ask(Scripted.add)
    copy = manual.thaw("a")
    vars(copy)["count"] = "many"

    with pytest.raises(InvalidStateError):
        manual.hibernate(copy)

    assert saved_count(ticking.storage, agent) == 1


def test_a_storage_needs_no_runtime(memory: Storage) -> None:
    """Both operations work before any runtime was made (DESIGN 5, Manual)."""
    assert torpor.hibernate(memory, Scripted(count=3), "a") == 1

    copy = torpor.thaw(memory, Scripted, "a")

    assert copy is not None
    assert (copy.count, copy.id) == (3, "a")
