"""When a fresh agent is stored first, and what it begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import Scripted, saved_count, spoil

if TYPE_CHECKING:
    from torpor import Runtime


def test_a_fresh_agent_that_is_only_read_is_not_stored(runtime: Runtime) -> None:
    """A fresh agent is stored once it differs from its defaults (DESIGN 5, Turn)."""
    agent = runtime.get(Scripted, "a")

    agent.ask(Scripted.read)
    agent.hibernate()
    assert saved_count(runtime.storage, agent) is None

    agent.ask(Scripted.add)
    assert saved_count(runtime.storage, agent) == 1


def test_a_fresh_agent_with_initial_is_stored_at_once(runtime: Runtime) -> None:
    """With ``initial`` a fresh agent is stored even by a turn that changes nothing."""
    agent = runtime.get(Scripted, "a", initial={"count": 5})

    assert agent.ask(Scripted.read) == 5

    assert saved_count(runtime.storage, agent) == 5


def test_initial_is_kept_when_the_first_turn_fails(runtime: Runtime) -> None:
    """``initial`` is what a failed first turn is rolled back to."""
    agent = runtime.get(Scripted, "a", initial={"count": 5})

    with pytest.raises(LookupError):
        agent.ask(Scripted.do, spoil)

    assert runtime.get(Scripted, "a").ask(Scripted.read) == 5


def test_a_stored_agent_ignores_initial(runtime: Runtime) -> None:
    """``initial`` is for an agent that is not stored yet, and for no other."""
    runtime.get(Scripted, "a").ask(Scripted.add, 1)
    runtime.get(Scripted, "a").hibernate()

    assert runtime.get(Scripted, "a", initial={"count": 5}).ask(Scripted.read) == 1
