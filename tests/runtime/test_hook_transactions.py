"""What hooks do is part of a turn, or a transaction like one: kept whole, or undone."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# A script may be any callable.

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import Scripted, saved_count, spoil
from torpor import HookFailed, Runtime

if TYPE_CHECKING:
    from tests.runtime.kit import Watch


class Started(Scripted):
    """Changes itself when its life begins, and at each thaw."""

    def on_start(self) -> None:
        """Note it."""
        self.log = (*self.log, "started")

    def on_thaw(self) -> None:
        """Note it."""
        self.log = (*self.log, "thawed")


def test_on_start_is_part_of_the_first_turn(runtime: Runtime) -> None:
    """If the first turn fails, ``on_start`` is undone with it and runs again (DESIGN 5, Turn)."""
    agent = runtime.get(Started, "a")

    with pytest.raises(LookupError):
        agent.ask(Started.do, spoil)

    assert saved_count(runtime.storage, agent) is None
    assert agent.ask(Started.do, lambda me: me.log) == ("started",)
    assert agent.ask(Started.do, lambda me: me.log) == ("started",)


def test_on_thaw_is_part_of_the_first_turn_after_it(runtime: Runtime) -> None:
    """If the first turn after a thaw fails, ``on_thaw`` is undone with it and runs again."""
    agent = runtime.get(Started, "a")
    agent.ask(Started.add)
    agent.hibernate()

    with pytest.raises(LookupError):
        agent.ask(Started.do, spoil)

    assert agent.ask(Started.do, lambda me: me.log) == ("started", "thawed")


def test_on_start_runs_once_in_a_life(runtime: Runtime) -> None:
    """A stored agent's later lives in memory begin with ``on_thaw`` alone."""
    agent = runtime.get(Started, "a")
    for _ in range(3):
        agent.ask(Started.add)
        agent.hibernate()

    assert agent.ask(Started.do, lambda me: me.log) == ("started", *["thawed"] * 3)


def test_a_failing_on_start_fails_the_turn(runtime: Runtime) -> None:
    """If ``on_start`` raises, the handler does not run and the caller gets its exception."""
    ran: list[str] = []

    class Unready(Scripted):
        def on_start(self) -> None:
            self.count = 7
            if not ran:
                ran.append("start")
                message = "not yet"
                raise ConnectionError(message)

    agent = runtime.get(Unready, "a")

    with pytest.raises(ConnectionError, match="not yet"):
        agent.ask(Unready.do, lambda _: ran.append("handler"))

    assert ran == ["start"]
    assert agent.ask(Unready.add) == 8


def test_a_failing_on_thaw_fails_the_turn(runtime: Runtime, other: Runtime) -> None:
    """If ``on_thaw`` raises, the handler does not run; the next message tries again."""
    failures = [ConnectionError("not yet")]

    class Unready(Scripted, kind="scripted"):
        def on_thaw(self) -> None:
            self.count += 100
            if failures:
                raise failures.pop()

    other.get(Scripted, "a").ask(Scripted.add, 1)
    agent = runtime.get(Unready, "a")

    with pytest.raises(ConnectionError):
        agent.ask(Unready.add)

    assert saved_count(runtime.storage, agent) == 1
    assert agent.ask(Unready.add) == 102


def test_a_failing_on_hibernate_keeps_the_state_before_it(runtime: Runtime, watch: Watch) -> None:
    """If ``on_hibernate`` raises, the state before it is saved and an event says so."""

    class Restless(Scripted):
        def on_hibernate(self) -> None:
            self.count = 99
            self.note("spoilt")
            message = "not now"
            raise ConnectionError(message)

    agent = runtime.get(Restless, "a")
    agent.ask(Restless.add, 2)
    agent.hibernate()

    assert agent.status().state == "asleep"
    assert (agent.ask(Restless.read), agent.ask(Restless.notes)) == (2, [])
    [event] = watch.of(HookFailed)
    assert (event.agent, event.hook) == (agent.address, "on_hibernate")
    assert isinstance(event.error, ConnectionError)


def test_what_on_hibernate_changes_is_saved(runtime: Runtime) -> None:
    """``on_hibernate`` may change fields and thread."""

    class Tidy(Scripted):
        def on_hibernate(self) -> None:
            self.count += 10
            self.note("good night")

    agent = runtime.get(Tidy, "a")
    agent.ask(Tidy.add, 1)
    agent.hibernate()

    assert (agent.ask(Tidy.read), agent.ask(Tidy.notes)) == (11, ["good night"])


def test_a_failing_on_hibernate_sends_nothing(runtime: Runtime) -> None:
    """What ``on_hibernate`` told others leaves with its changes, or not at all."""
    receiver = runtime.get(Scripted, "receiver")

    class Chatty(Scripted):
        def on_hibernate(self) -> None:
            receiver.tell(Scripted.add, 1)
            if self.count == 1:
                message = "not now"
                raise ConnectionError(message)

    agent = runtime.get(Chatty, "a")
    for expected in (0, 1):
        agent.ask(Chatty.add)
        agent.hibernate()
        assert receiver.ask(Scripted.read) == expected


class Careful(Scripted):
    """Notes its failures."""

    def on_failure(self, error: BaseException) -> None:
        """Note what failed."""
        self.log = (*self.log, type(error).__name__)
        if self.count == 13:
            self.note("spoilt")
            message = "unlucky"
            raise ConnectionError(message)


def test_what_on_failure_changes_is_kept(runtime: Runtime) -> None:
    """``on_failure`` runs after the rollback, and what it changes is saved."""
    agent = runtime.get(Careful, "a")

    with pytest.raises(LookupError):
        agent.ask(Careful.do, spoil)

    agent.hibernate()
    assert agent.ask(Careful.do, lambda me: (me.count, me.log)) == (0, ("LookupError",))


def test_a_failing_on_failure_is_undone(runtime: Runtime, watch: Watch) -> None:
    """If ``on_failure`` raises, its changes are undone; the caller gets the first error."""
    agent = runtime.get(Careful, "a")
    agent.ask(Careful.add, 13)

    with pytest.raises(LookupError):
        agent.ask(Careful.do, spoil)

    assert agent.ask(Careful.do, lambda me: (me.log, me.notes())) == ((), [])
    [event] = watch.of(HookFailed)
    assert event.hook == "on_failure"
