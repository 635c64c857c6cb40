"""A turn that leaves what could not be thawed again is rolled back."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# A script may be any callable.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.runtime.kit import Scripted
from torpor import InvalidStateError, Runtime

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage


class Unstorable(Scripted):
    """Can get into a state that could not be thawed again."""

    anything: Any = None

    def put(self, value: object) -> None:
        """Take any object as a field's value."""
        self.anything = value

    def break_count(self) -> None:
        """Get round the validation of assignments."""
        vars(self).update(count="many")


def test_an_invalid_state_is_rolled_back(runtime: Runtime, storage: FaultyStorage) -> None:
    """A turn that leaves what could not be thawed raises ``InvalidStateError`` (Records 7)."""
    agent = runtime.get(Unstorable, "a")
    agent.ask(Unstorable.add, 1)
    commits = storage.calls["commit"]

    with pytest.raises(InvalidStateError):
        agent.ask(Unstorable.break_count)

    assert agent.ask(Unstorable.read) == 1
    assert storage.calls["commit"] == commits


def test_a_state_that_is_no_json_is_rolled_back(runtime: Runtime) -> None:
    """A field with no JSON form is an ``InvalidStateError`` (Records 7)."""
    agent = runtime.get(Unstorable, "a")

    with pytest.raises(InvalidStateError):
        agent.ask(Unstorable.put, object())

    assert agent.ask(Unstorable.do, lambda me: me.anything) is None


def test_the_validation_before_a_save_can_be_left_out(runtime: Runtime) -> None:
    """``validate_on_save=False`` commits without decoding first (Records 7)."""

    class Trusting(Unstorable, validate_on_save=False):
        pass

    agent = runtime.get(Trusting, "a")

    agent.ask(Trusting.break_count)

    stored = runtime.storage.get_checkpoint(agent.address)
    assert stored is not None
    assert stored.value["count"] == "many"
