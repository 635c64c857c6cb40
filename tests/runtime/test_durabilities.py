"""The four durabilities: when a turn is saved, and what a crash loses."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import (
    PATIENCE,
    Lazy,
    Regular,
    Scripted,
    fail_again,
    saved_count,
)
from torpor import (
    ConflictDetected,
    Hibernated,
    Runtime,
    StorageUnavailableError,
)

if TYPE_CHECKING:
    from tests.runtime.kit import ObservedClock, Watch
    from torpor.storage import Storage
    from torpor.storage.faulty import FaultyStorage


class Prompt(Scripted, durability="turn"):
    """Saved after each turn."""


class Volatile(Scripted, durability="none"):
    """Never saved."""


@pytest.fixture(params=[Regular, Lazy, Volatile])
def answered_early(request: pytest.FixtureRequest) -> type[Scripted]:
    """Return each class whose turns are answered before they are saved."""
    cls: type[Scripted] = request.param
    return cls


def test_turn_is_the_default(runtime: Runtime) -> None:
    """Without a word, every answered turn is saved (DESIGN 5, Durability)."""
    assert runtime.manager.register(Scripted).options.durability == "turn"


def test_the_class_wins_over_the_runtime(memory: Storage) -> None:
    """``Runtime(durability=…)`` is the default of classes that say nothing."""
    with Runtime(memory, durability="none") as runtime:
        assert runtime.manager.register(Scripted).options.durability == "none"
        assert runtime.manager.register(Lazy).options.durability == "hibernate"


def test_turn_saves_before_the_reply(any_storage: Storage) -> None:
    """Under ``"turn"`` a crash loses nothing acknowledged (DESIGN 5, Durability)."""
    with Runtime(any_storage) as runtime:
        agent = runtime.get(Prompt, "a")
        for n in range(1, 4):
            agent.ask(Prompt.add)
            assert saved_count(any_storage, agent) == n


def test_others_answer_before_they_save(
    runtime: Runtime, storage: FaultyStorage, answered_early: type[Scripted]
) -> None:
    """Under the other durabilities a turn is answered without a save (DESIGN 5, Durability)."""
    agent = runtime.get(answered_early, "a")

    with storage.disconnected() if answered_early is Volatile else storage.hang_next("commit"):
        assert [agent.ask(Scripted.add) for _ in range(3)] == [1, 2, 3]

    assert saved_count(storage, agent) is None


def test_interval_saves_when_its_time_has_come(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock
) -> None:
    """Under ``"interval"`` dirty agents are saved every ``flush_interval``, in one batch."""
    agents = [runtime.get(Regular, key) for key in "abc"]
    for agent in agents:
        agent.ask(Regular.add)
    clock.advance(1.9)
    clock.settle()
    assert storage.calls["commit"] == 0

    with storage.hang_next("commit") as hang:
        clock.advance(0.1)
        assert hang.entered.wait(PATIENCE)
    for agent in agents:
        agent.hibernate()

    assert [saved_count(storage, agent) for agent in agents] == [1, 1, 1]


def test_interval_saves_many_agents_in_one_batch(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock
) -> None:
    """What an interval gathered shares a commit (DESIGN 5, Group commit)."""
    agents = [runtime.get(Regular, str(n)) for n in range(50)]
    for agent in agents:
        agent.ask(Regular.add)
    with storage.hang_next("commit") as hang:
        clock.advance(2)
        assert hang.entered.wait(PATIENCE)
        clock.settle()
    for agent in agents:
        agent.hibernate()

    assert sum(map(len, storage.batches)) == 50
    assert len(storage.batches) <= 3


def test_interval_saves_what_changed_while_a_save_was_under_way(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock
) -> None:
    """A change made during a slow save is saved by the next interval, without a message."""
    agent = runtime.get(Regular, "a")
    agent.ask(Regular.add)
    with storage.hang_next("commit") as first:
        clock.advance(2)
        assert first.entered.wait(PATIENCE)
        agent.ask(Regular.add)
        clock.advance(2)
        clock.settle()
        following = runtime.get(Prompt, "b").submit(Prompt.add)
    following.get()

    with storage.hang_next("commit", after=True, keys=[agent.address]) as second:
        clock.advance(2)
        assert second.entered.wait(PATIENCE)
        assert saved_count(storage, agent) == 2


def test_interval_is_not_saved_again_without_a_change(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock
) -> None:
    """An agent that nobody changed since is not rewritten (DESIGN 5, Records 5)."""
    agent = runtime.get(Regular, "a")
    agent.ask(Regular.add)
    with storage.hang_next("commit") as hang:
        clock.advance(2)
        assert hang.entered.wait(PATIENCE)
    for _ in range(3):
        agent.ask(Regular.read)
        clock.advance(2)
        clock.settle()
    agent.hibernate()

    assert storage.calls["commit"] == 1


@pytest.mark.parametrize("cls", [Regular, Lazy])
def test_hibernation_saves(runtime: Runtime, cls: type[Scripted]) -> None:
    """Whatever was not saved yet is saved when the agent leaves memory."""
    agent = runtime.get(cls, "a")
    agent.ask(cls.add)
    agent.ask(cls.note, "one")

    agent.hibernate()

    assert saved_count(runtime.storage, agent) == 1
    assert agent.ask(cls.notes) == ["one"]


def test_idleness_saves(runtime: Runtime, clock: ObservedClock, watch: Watch) -> None:
    """Under ``"hibernate"`` an idle agent is saved as it goes to sleep."""
    agent = runtime.get(Lazy, "a")
    agent.ask(Lazy.add)

    clock.advance(60)

    watch.wait(Hibernated)
    assert saved_count(runtime.storage, agent) == 1


def test_eviction_saves(memory: Storage) -> None:
    """Under ``"hibernate"`` an agent that has to make room is saved."""
    with Runtime(memory, max_live=1) as runtime:
        agent = runtime.get(Lazy, "a")
        agent.ask(Lazy.add)
        gone = runtime.get(Lazy, "b")
        gone.ask(Lazy.read)
        runtime.get(Lazy, "c").ask(Lazy.read)
        agent.hibernate()

    assert saved_count(memory, agent) == 1


@pytest.mark.parametrize("cls", [Regular, Lazy])
def test_stop_saves(memory: Storage, cls: type[Scripted]) -> None:
    """``stop`` saves what waits for its time."""
    with Runtime(memory) as runtime:
        agent = runtime.get(cls, "a")
        agent.ask(cls.add)
        assert saved_count(memory, agent) is None

    assert saved_count(memory, agent) == 1


def test_none_is_never_saved_nor_read(runtime: Runtime, storage: FaultyStorage) -> None:
    """Under ``"none"`` the storage is not touched at all, and every life is a fresh one."""
    agent = runtime.get(Volatile, "a", initial={"count": 5})

    assert agent.ask(Volatile.add) == 6
    agent.ask(Volatile.note, "secret")
    agent.hibernate()
    assert agent.ask(Volatile.add) == 6
    agent.delete()
    assert agent.ask(Volatile.add) == 6
    runtime.stop()

    assert sum(storage.calls.values()) == 0


def test_none_rolls_back_too(runtime: Runtime) -> None:
    """A turn is a transaction whatever its durability."""
    agent = runtime.get(Volatile, "a")
    agent.ask(Volatile.add)

    def fail(me: Scripted) -> None:
        me.count = 99
        raise LookupError

    with pytest.raises(LookupError):
        agent.ask(Volatile.do, fail)

    assert agent.ask(Volatile.read) == 1


def test_tells_leave_with_the_turn_when_nothing_is_waited_for(
    runtime: Runtime, storage: FaultyStorage, answered_early: type[Scripted]
) -> None:
    """Where a turn is answered without a save, what it told others leaves at once."""
    receiver = runtime.get(Volatile, "receiver")
    agent = runtime.get(answered_early, "a")

    def tell(me: Scripted) -> None:
        me.count += 1
        receiver.tell(Volatile.add)

    agent.ask(answered_early.do, tell)

    assert receiver.ask(Volatile.read) == 1
    assert storage.calls["commit"] == 0


@pytest.mark.parametrize("cls", [Regular, Lazy])
def test_a_conflict_drops_what_was_answered_and_says_so(
    runtime: Runtime,
    other: Runtime,
    watch: Watch,
    caplog: pytest.LogCaptureFixture,
    cls: type[Scripted],
) -> None:
    """Answered turns that conflict are dropped, told, logged (DESIGN 5, Conflict, HC-4, HC-33)."""
    agent = runtime.get(cls, "a")
    for _ in range(3):
        agent.ask(cls.add)
    agent.ask(cls.read)
    other.get(cls, "a").ask(cls.add, 10)
    other.get(cls, "a").hibernate()

    agent.hibernate()

    [event] = watch.of(ConflictDetected)
    assert (event.agent, event.lost_turns) == (agent.address, 3)
    assert (event.expected, event.found) == (0, 1)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert agent.ask(cls.read) == 10


def test_a_lost_turn_of_a_later_change_is_counted(
    runtime: Runtime, other: Runtime, storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """Turns answered while the conflicting save was under way are lost and counted too."""
    agent = runtime.get(Regular, "a")
    agent.ask(Regular.add)
    other.get(Regular, "a").ask(Regular.add, 10)
    other.get(Regular, "a").hibernate()
    with storage.hang_next("commit") as hang:
        clock.advance(2)
        assert hang.entered.wait(PATIENCE)
        agent.ask(Regular.add)

    [event] = watch.wait(ConflictDetected)
    assert event.lost_turns == 2


def test_a_long_outage_refuses_new_calls(
    runtime: Runtime, storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """After 30 s of failing saves new calls are refused under ``"interval"`` too."""
    agent = runtime.get(Regular, "a")
    agent.ask(Regular.add)
    storage.disconnect()
    clock.advance(2)
    fail_again(clock, watch)
    assert agent.ask(Regular.add) == 2

    fail_again(clock, watch, 30)
    fail_again(clock, watch)
    with pytest.raises(StorageUnavailableError):
        agent.ask(Regular.add)

    storage.reconnect()
    with storage.hang_next("commit") as hang:
        clock.pass_backoff()
        assert hang.entered.wait(PATIENCE)
        following = runtime.get(Prompt, "b").submit(Prompt.add)
    following.get()
    assert saved_count(storage, agent) == 1
    assert agent.ask(Regular.add) == 3
    agent.hibernate()
    assert saved_count(storage, agent) == 3
