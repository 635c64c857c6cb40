"""Very many at once, and what the gauges say when trouble is over."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable.

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.kit import PATIENCE, Gate, LifeClock, Scripted, begin, done, result, running
from tests.runtime.kit import eventually
from torpor import CallTimeoutError, RecordTooLargeError, ThawError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor import Runtime
    from torpor.storage.faulty import FaultyStorage

HERD = 500
AT_ONCE = 8


class Crowd:
    """Notes how many keys each read is about, and how many reads there are at a time."""

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.at_a_time: list[int] = []
        self._lock = threading.Lock()
        self._inside = 0
        self._read = runtime.storage.read
        monkeypatch.setattr(runtime.storage, "read", self.read)

    def read(self, keys: Sequence[str]) -> Any:
        """Note it, and read."""
        with self._lock:
            self._inside += 1
            self.sizes.append(len(keys))
            self.at_a_time.append(self._inside)
        try:
            return self._read(keys)
        finally:
            with self._lock:
                self._inside -= 1


def test_a_herd_that_wakes_at_once_is_thawed_a_few_at_a_time(
    storage: FaultyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads are as large as they may be, never larger, and one at a time (HC-24)."""
    with running(storage, max_thaws=AT_ONCE, timeout=None) as runtime:
        crowd = Crowd(runtime, monkeypatch)
        with storage.hang_next("read") as hang:
            replies = [runtime.get(Scripted, str(n)).submit(Scripted.add) for n in range(HERD)]
            assert hang.entered.wait(PATIENCE)

        assert [result(reply) for reply in replies] == [1] * HERD
        assert sum(crowd.sizes) == HERD
        assert max(crowd.sizes) == AT_ONCE
        assert max(crowd.at_a_time) == 1


def a_turn_fails(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """A handler raises, on its caller's thread and on a worker's."""
    del clock, storage
    agent = runtime.get(Scripted, "a")
    with pytest.raises(ZeroDivisionError):
        agent.ask(Scripted.do, lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        result(agent.submit(Scripted.do, lambda _: 1 / 0))


def a_state_is_refused(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """The storage takes no record so large."""
    del clock
    storage.max_document_bytes = 1000
    with pytest.raises(RecordTooLargeError):
        runtime.get(Scripted, "a").ask(Scripted.write, "x" * 5000)


def a_thaw_fails(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """A record can't be brought back, whoever waits for it."""
    del clock
    storage.put_checkpoint("scripted/a", {"count": "many"}, kind="scripted")
    with storage.hang_next("read") as hang:
        replies = [runtime.get(Scripted, "a").submit(Scripted.add) for _ in range(3)]
        assert hang.entered.wait(PATIENCE)
    for reply in replies:
        with pytest.raises(ThawError):
            result(reply)
    assert runtime.stats().live == 0


def a_turn_conflicts(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """Another process was first; the turn is run again."""
    storage.conflict_next()
    asking = begin(lambda: runtime.get(Scripted, "a").ask(Scripted.add))
    clock.pass_backoff()
    assert done(asking) == 1


def a_call_is_withdrawn(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """Its time is up before its agent gets to it."""
    del storage
    agent, gate = runtime.get(Scripted, "a"), Gate()
    agent.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    late = begin(lambda: agent.options(timeout=5).ask(Scripted.add))
    clock.pass_deadline()
    assert isinstance(late.exception(PATIENCE), CallTimeoutError)
    gate.open()


def a_waiting_handler_gives_up(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """A worker that waits for another agent stops waiting."""
    del storage
    agent, busy, gate = runtime.get(Scripted, "a"), runtime.get(Scripted, "b"), Gate()
    busy.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    reply = agent.submit(Scripted.do, lambda _: busy.options(timeout=5).ask(Scripted.add))
    clock.wait_for_waiter()
    assert runtime.stats().workers_blocked == 1
    clock.pass_deadline()
    with pytest.raises(CallTimeoutError):
        result(reply)
    gate.open()


def a_commit_hangs(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """A worker hangs in the storage, is replaced, and comes back."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.read)
    with storage.hang_next("commit") as hang:
        reply = agent.submit(Scripted.add)
        assert hang.entered.wait(PATIENCE)
        clock.advance(60)
        eventually(lambda: runtime.stats().workers_blocked == 1)
        clock.pass_backoff()
        assert result(reply) == 1


def an_attachment_ends_badly(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """Whoever had attached leaves by an error."""
    del clock, storage
    agent = runtime.get(Scripted, "a")
    with pytest.raises(ZeroDivisionError), agent.attached():
        agent.ask(Scripted.do, lambda _: 1 / 0)


def an_agent_is_deleted(runtime: Runtime, clock: LifeClock, storage: FaultyStorage) -> None:
    """It leaves memory without hibernating, while messages wait behind that."""
    del clock, storage
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add)
    agent.delete()
    assert agent.ask(Scripted.add) == 1


TROUBLES: list[Callable[[Runtime, LifeClock, FaultyStorage], None]] = [
    a_turn_fails,
    a_state_is_refused,
    a_thaw_fails,
    a_turn_conflicts,
    a_call_is_withdrawn,
    a_waiting_handler_gives_up,
    a_commit_hangs,
    an_attachment_ends_badly,
    an_agent_is_deleted,
]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_gauges_are_right_after_trouble(
    storage: FaultyStorage,
    clock: LifeClock,
    trouble: Callable[[Runtime, LifeClock, FaultyStorage], None],
) -> None:
    """They count what is there, and so come back to nothing when nothing is left (HC-34)."""
    with running(
        storage, clock=clock, timeout=None, idle_timeout=None, wake_interval=None
    ) as runtime:
        for _ in range(2):
            trouble(runtime, clock, storage)

            eventually(lambda: busy_gauges(runtime) == (0, 0, 0, 0, 0))
            for agent in runtime.live():
                agent.delete()
            eventually(lambda: runtime.stats().live == 0)
            clock.advance(60)


def busy_gauges(runtime: Runtime) -> tuple[int, int, int, int, int]:
    """Return the gauges of what goes on: all zero if nothing does."""
    stats = runtime.stats()
    return (stats.running, stats.waiting, stats.unsaved, stats.attached, stats.workers_blocked)
