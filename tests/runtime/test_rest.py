"""What keeps an agent in memory at the last moment, and what is left of it afterwards."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import PATIENCE, Gate, Scripted, eventually
from torpor import Hibernated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.runtime.kit import ObservedClock, Watch
    from torpor import Runtime


class Sleepless(Scripted, idle_timeout=None):
    """Never idles."""


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Return a gate that is open after the test."""
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def hesitant(gate: Gate) -> type[Scripted]:
    """Return a class whose ``on_hibernate`` stops at the gate, and notes that it ran."""

    class Hesitant(Scripted):
        def on_hibernate(self) -> None:
            self.write("tired")
            gate.pass_through()

    return Hesitant


def test_an_async_turn_keeps_its_agent_awake(
    runtime: Runtime, clock: ObservedClock, watch: Watch
) -> None:
    """An agent whose handler awaits something is not idle either (DESIGN 5, Idle, HC-12)."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add)
    begun, go_on = threading.Event(), threading.Event()

    async def hold(_: Scripted) -> None:
        begun.set()
        await asyncio.to_thread(go_on.wait, PATIENCE)

    running = agent.options(timeout=None).submit(Scripted.do_async, hold)
    assert begun.wait(PATIENCE)
    clock.advance(300)
    clock.settle()

    assert (agent.status().state, watch.of(Hibernated)) == ("live", [])

    go_on.set()
    running.get()


def test_who_attaches_while_it_goes_to_sleep_keeps_it(
    runtime: Runtime, clock: ObservedClock, watch: Watch, hesitant: type[Scripted], gate: Gate
) -> None:
    """Attaching in time is like a message in time: hibernation does not happen."""
    agent = runtime.get(hesitant, "a")
    agent.ask(Scripted.add)
    same = agent.ask(Scripted.do, id)
    clock.advance(60)
    gate.wait_for_entry()

    with agent.attached():
        gate.open()
        eventually(lambda: agent.status().state != "hibernating")

        assert agent.status().state == "live"
        assert agent.ask(Scripted.do, id) == same
        assert watch.of(Hibernated) == []


def test_nobody_is_remembered_after_leaving(runtime: Runtime) -> None:
    """An agent that was put to sleep leaves nothing behind in memory."""
    for cls in (Scripted, Sleepless):
        agent = runtime.get(cls, "a")
        agent.ask(Scripted.add)
        agent.hibernate()

    assert len(runtime.manager.idle) == 0
    assert runtime.manager.table == {}
