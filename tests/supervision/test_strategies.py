"""What a failing turn does to its agent, by its class's strategy."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.processes import PATIENCE
from torpor import (
    Agent,
    AgentEvent,
    AgentPaused,
    AgentPausedError,
    AgentRestarted,
    AgentResumed,
    ConfigurationError,
    Hibernated,
    MessageDelivered,
    Runtime,
    Thawed,
)

if TYPE_CHECKING:
    from torpor.ref import AgentRef
    from torpor.storage import Storage
    from torpor.testing import ManualClock


class Fragile(Agent, kind="fragile"):
    """Fails when told to."""

    count: int = 0
    _opened: bool = False

    def add(self) -> int:
        """Change the state; what is not saved shows whether this is a new copy."""
        self._opened = True
        self.count += 1
        return self.count

    def is_opened(self) -> bool:
        """Whether the copy in memory is the one that ``add`` was called on."""
        return self._opened

    def fail(self) -> None:
        """Change the state, and fail."""
        self.count += 100
        raise LookupError(self.count)


F = TypeVar("F", bound=Fragile)


class Restarted(Fragile, kind="restarted", supervision="restart", max_restarts=2):
    """Is thawed again after a failure."""


class Stopped(Fragile, kind="stopped", supervision="stop"):
    """Is not, until somebody says so."""


def fail(agent: AgentRef[F]) -> None:
    """Have one turn fail."""
    with pytest.raises(LookupError):
        agent.ask(Fragile.fail)


def restart(runtime: Runtime, clock: ManualClock, agent: AgentRef[F]) -> None:
    """Have one turn fail and the delay pass that follows it."""
    gone = threading.Event()
    stop = runtime.listen(lambda _: gone.set(), Hibernated)
    fail(agent)
    assert gone.wait(PATIENCE)
    stop()
    clock.advance(10)


def test_resume_goes_on_with_the_same_copy(runtime: Runtime) -> None:
    """By default a failing turn is rolled back and nothing else happens."""
    agent = runtime.get(Fragile, "a")
    agent.ask(Fragile.add)
    for _ in range(20):
        fail(agent)

    assert agent.ask(Fragile.is_opened)
    assert agent.ask(Fragile.add) == 2
    assert agent.status().failures == 0


def test_restart_thaws_the_agent_again(runtime: Runtime, clock: ManualClock) -> None:
    """The copy is dropped, also what is never saved; the state before the turn comes back."""
    events: list[AgentEvent] = []
    runtime.listen(events.append, AgentEvent)
    agent = runtime.get(Restarted, "a")
    agent.ask(Restarted.add)

    restart(runtime, clock, agent)

    assert not agent.ask(Restarted.is_opened)
    assert agent.ask(Restarted.add) == 2
    [told] = [event for event in events if isinstance(event, AgentRestarted)]
    assert (told.agent, told.failures, str(told.error)) == ("restarted/a", 1, "101")
    assert sum(isinstance(event, Thawed) for event in events) == 2


def test_messages_wait_until_the_delay_is_over(runtime: Runtime, clock: ManualClock) -> None:
    """A failing agent is thawed no sooner than its back-off says, and nothing is lost."""
    agent = runtime.get(Restarted, "a")
    agent.ask(Restarted.add)
    thaws = runtime.stats().thaws
    fail(agent)
    reply = agent.submit(Restarted.add)
    other = runtime.get(Restarted, "b")

    assert other.ask(Restarted.add) == 1  # harms nobody else
    assert runtime.stats().thaws == thaws + 1  # that other's
    clock.advance(0.06)
    assert reply.get() == 2


def test_each_restart_waits_longer(runtime: Runtime, clock: ManualClock) -> None:
    """The delays double."""
    told: list[AgentRestarted] = []
    runtime.listen(told.append, AgentRestarted)
    agent = runtime.get(Restarted, "a")
    for _ in range(2):
        restart(runtime, clock, agent)

    assert [event.delay for event in told] == [0.05, 0.1]
    assert agent.status().failures == 2


def test_a_crash_loop_is_paused(runtime: Runtime, clock: ManualClock) -> None:
    """More failures than allowed: calls are refused, and the error says why (W-11, W-12, HC-7)."""
    told: list[AgentPaused] = []
    runtime.listen(told.append, AgentPaused)
    agent = runtime.get(Restarted, "a")
    for _ in range(2):
        restart(runtime, clock, agent)
    fail(agent)

    with pytest.raises(AgentPausedError, match="after 3 failures") as caught:
        agent.ask(Restarted.add)

    assert "LookupError: 100" in str(caught.value)
    assert caught.value.outcome == "not_run"
    assert caught.value.until == pytest.approx(clock.time() + 60)
    assert agent.status().state == "paused"
    assert [event.failures for event in told] == [3]
    assert runtime.get(Restarted, "b").ask(Restarted.add) == 1
    clock.advance(61)
    assert agent.ask(Restarted.add) == 1


def test_failures_far_apart_are_no_crash_loop(runtime: Runtime, clock: ManualClock) -> None:
    """A failure is counted with the one before only within the window."""
    agent = runtime.get(Restarted, "a")
    for _ in range(6):
        restart(runtime, clock, agent)
        clock.advance(61)

    assert agent.ask(Restarted.add) == 1
    assert agent.status().failures == 1


def test_a_pause_outlives_the_process(storage: Storage, clock: ManualClock) -> None:
    """It stands in the agent's record: a new runtime refuses too, until it is resumed."""
    with Runtime(storage, clock=clock) as runtime:
        agent = runtime.get(Stopped, "a")
        agent.ask(Stopped.add)
        fail(agent)

    with Runtime(storage, clock=clock) as runtime:
        told: list[AgentResumed] = []
        runtime.listen(told.append, AgentResumed)
        agent = runtime.get(Stopped, "a")
        clock.advance(1e6)
        with pytest.raises(AgentPausedError):
            agent.ask(Stopped.add)
        assert agent.resume()
        assert agent.ask(Stopped.add) == 2
        assert not agent.resume()
        assert len(told) == 1


def test_durable_messages_to_a_paused_agent_wait(runtime: Runtime, clock: ManualClock) -> None:
    """They are no failures of theirs: none dies, all come once the agent is resumed."""
    arrived = threading.Event()
    runtime.listen(lambda _: arrived.set(), MessageDelivered)
    agent = runtime.get(Stopped, "a")
    fail(agent)
    agent.send(Stopped.add)
    for _ in range(15):
        clock.advance(300)

    assert agent.dead_letters() == []
    agent.resume()
    assert arrived.wait(PATIENCE)
    assert agent.ask(Stopped.add) == 2


@pytest.mark.parametrize(
    "options", [{"supervision": "ignore"}, {"max_restarts": -1}, {"restart_window": 0}]
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    """What cannot be is one clear error."""
    with pytest.raises(ConfigurationError):
        Runtime("memory:", **options)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - on purpose
