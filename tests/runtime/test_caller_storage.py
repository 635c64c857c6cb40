"""A blocking caller does the storage's work for its call too, as far as its timeout allows."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.runtime.kit import PATIENCE, Scripted, Watch
from torpor import CallTimeoutError, ConflictDetected, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.kit import ObservedClock
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage
    from torpor.storage.memory import MemoryStorage


def _note_thread(
    note: Callable[[threading.Thread], None], operation: Callable[..., Any], *args: Any
) -> Any:
    note(threading.current_thread())
    return operation(*args)


@pytest.fixture
def agent(runtime: Runtime) -> AgentRef[Scripted]:
    """Return an agent that is awake."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.read)
    return agent


def test_the_timeout_bounds_the_wait_for_a_commit_of_others(
    agent: AgentRef[Scripted], runtime: Runtime, clock: ObservedClock, storage: FaultyStorage
) -> None:
    """A caller-run turn that has to wait for the lane waits as long as its timeout says."""
    neighbour = runtime.get(Scripted, "neighbour")
    neighbour.ask(Scripted.read)
    with storage.hang_next("commit") as hang:
        adding = neighbour.submit(Scripted.add)
        assert hang.entered.wait(PATIENCE)

        def overrun(me: Scripted) -> int:
            clock.advance(10)
            me.count += 1
            return me.count

        with pytest.raises(CallTimeoutError) as raised:
            agent.options(timeout=5).ask(Scripted.do, overrun)

        assert raised.value.outcome == "unknown"
    assert adding.get() == 1
    assert agent.ask(Scripted.read) == 1


def test_the_caller_runs_the_load_too(
    runtime: Runtime, storage: FaultyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that is asleep is thawed, run and saved without any other thread."""
    threads: set[threading.Thread] = set()
    for name in ("_read", "_commit"):
        monkeypatch.setattr(
            storage.inner, name, partial(_note_thread, threads.add, getattr(storage.inner, name))
        )

    runtime.get(Scripted, "asleep").ask(Scripted.add)

    assert threads == {threading.current_thread()}
    assert runtime.stats().workers == 0


def test_a_short_timeout_leaves_the_storage_to_the_workers(
    memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that could not wait for a slow storage does not call it (Storage.timeout)."""
    memory.timeout = 10
    threads: list[threading.Thread] = []
    monkeypatch.setattr(memory, "_read", partial(_note_thread, threads.append, memory._read))
    with Runtime(memory, timeout=5) as runtime:
        agent = runtime.get(Scripted, "a")
        assert agent.ask(Scripted.add) == 1

    assert threads[0] is not threading.current_thread()


def test_a_conflict_is_resolved_for_a_caller_run_turn_too(
    storage: FaultyStorage, other: Runtime
) -> None:
    """The caller waits while workers run its turn again."""
    with Runtime(storage) as runtime:
        watch = Watch(runtime)
        agent = runtime.get(Scripted, "a")
        agent.ask(Scripted.add)
        other.get(Scripted, "a").ask(Scripted.add, 10)

        assert agent.ask(Scripted.add) == 12
        assert len(watch.of(ConflictDetected)) == 1


def test_hibernation_is_run_by_its_caller(runtime: Runtime) -> None:
    """``hibernate()`` and ``delete()`` of an agent at rest need no worker either."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add)
    agent.hibernate()
    agent.delete()

    assert runtime.stats().workers == 0
