"""Which agents are in memory: started by the first message, found, and told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pykka
import pytest
from pydantic import Field

from tests.behaviours.kit import Counter, Watch, together
from torpor import (
    Agent,
    CallTimeoutError,
    DeadLetter,
    Hibernated,
    HibernationReason,
    Runtime,
    RuntimeStoppedError,
    SaveFailed,
    StorageError,
    Thawed,
)

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage


class Sleepless(Counter, idle_timeout=None):
    """Never idles."""


class Lazy(Counter, durability="hibernate"):
    """Is stored when it falls asleep."""


def test_the_first_message_starts_an_agent(runtime: Runtime) -> None:
    """A reference loads nothing; the first message makes the one live agent of its key (IM-10)."""
    one, same, other = (runtime.get(Counter, key) for key in ("a", "a", "b"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert runtime.stats().live == 0

    one.ask(Counter.add, 1)
    same.ask(Counter.add, 1)

    assert other.ask(Counter.read) == 0
    assert one.ask(Counter.read) == 2
    assert (runtime.stats().live, runtime.stats().thaws) == (2, 2)


def test_references_of_two_runtimes_differ(runtime: Runtime) -> None:
    """The same key in another runtime is another agent (IM-10, IM-17)."""
    with Runtime("memory:") as another:
        assert another.get(Counter, "a") != runtime.get(Counter, "a")
        another.get(Counter, "a").ask(Counter.add, 5)

        assert runtime.get(Counter, "a").ask(Counter.read) == 0
        assert [ref.key for ref in another.live()] == ["a"]


def test_lookup_starts_nobody(runtime: Runtime) -> None:
    """``lookup`` finds an agent that is in memory and answers None for any other (IM-11)."""
    assert runtime.lookup(Counter, "a") is None
    assert runtime.stats().live == 0

    ref = runtime.get(Counter, "a")
    ref.ask(Counter.read)

    assert runtime.lookup(Counter, "a") == ref
    assert runtime.lookup(Counter, "a", partition="p") is None
    assert runtime.lookup(Sleepless, "a") is None


def test_initial_values_are_for_the_unborn(runtime: Runtime, storage: FaultyStorage) -> None:
    """A fresh agent begins with ``initial``; one that is stored ignores it (IM-12)."""
    begun = runtime.get(Counter, "a", initial={"count": 7})
    assert begun.ask(Counter.read) == 7
    begun.hibernate()

    assert runtime.get(Counter, "a", initial={"count": 9}).ask(Counter.read) == 7

    with Runtime(storage) as successor:
        assert successor.get(Counter, "a", initial={"count": 9}).ask(Counter.add) == 8


def test_initial_values_are_for_the_first_message(runtime: Runtime) -> None:
    """Whoever starts the agent decides; a later ``initial`` changes nothing (IM-12)."""
    runtime.get(Counter, "a").ask(Counter.read)

    assert runtime.get(Counter, "a", initial={"count": 9}).ask(Counter.read) == 0


def test_concurrent_first_messages_start_one_agent(runtime: Runtime) -> None:
    """Of a hundred first messages at once one starts the agent, all reach it (IM-13)."""

    def add() -> int:
        return runtime.get(Counter, "a").ask(Counter.add, 1)

    counts = together(*[add] * 100)

    assert sorted(counts) == list(range(1, 101))
    assert runtime.stats().thaws == 1


def test_hibernate_saves_first(runtime: Runtime, storage: FaultyStorage, watch: Watch) -> None:
    """When ``hibernate`` returns, the agent is stored and no longer in memory (IM-14)."""
    ref = runtime.get(Lazy, "a")
    ref.ask(Lazy.add, 3)
    assert storage.get_checkpoint(ref.address) is None

    ref.hibernate()

    saved = storage.get_checkpoint(ref.address)
    assert saved is not None
    assert saved.value == {"count": 3}
    assert runtime.lookup(Lazy, "a") is None
    assert ref.status().state == "asleep"
    assert watch.of(Hibernated) == [Hibernated(ref.address, HibernationReason.REQUESTED)]


def test_hibernate_waits_for_messages_before_it(runtime: Runtime) -> None:
    """Messages that were sent before are handled first (IM-14)."""
    ref = runtime.get(Counter, "a")
    replies = [ref.submit(Counter.add, 1) for _ in range(100)]

    ref.hibernate()

    assert all(reply.done for reply in replies)
    assert replies[-1].get() == 100
    assert runtime.lookup(Counter, "a") is None


def test_hibernating_who_sleeps_is_no_error(runtime: Runtime, storage: FaultyStorage) -> None:
    """An agent that is not in memory has nothing to save (IM-14)."""
    runtime.get(Counter, "a").hibernate()

    assert storage.calls["commit"] == 0
    assert runtime.stats().live == 0


def test_stop_hibernates_everybody(storage: FaultyStorage) -> None:
    """After ``stop`` all is stored and nobody is in memory; calls are refused (IM-14)."""
    runtime = Runtime(storage)
    watch = Watch(runtime)
    refs = [runtime.get(Lazy, f"a{number}") for number in range(20)]
    for ref in refs:
        ref.ask(Lazy.add, 1)

    runtime.stop()

    assert runtime.stats().live == 0
    assert {event.reason for event in watch.of(Hibernated)} == {HibernationReason.STOPPED}
    assert len(storage.list_checkpoints()) == 20
    with pytest.raises(RuntimeStoppedError):
        refs[0].ask(Lazy.read)
    runtime.stop()


def test_live_lists_by_class_and_partition(runtime: Runtime) -> None:
    """The list of live agents can be narrowed to a class and to a partition (IM-15)."""
    everybody = [
        runtime.get(cls, key, partition=partition)
        for cls, key, partition in (
            (Counter, "a", None),
            (Counter, "a", "north"),
            (Counter, "b", "north"),
            (Sleepless, "a", "north"),
            (Sleepless, "a", "south"),
        )
    ]
    for ref in everybody:
        ref.ask(Counter.read)

    assert runtime.live() == everybody
    assert runtime.live(Counter) == everybody[:3]
    assert runtime.live(Counter, partition="north") == everybody[1:3]
    assert runtime.live(partition="north") == everybody[1:4]
    assert runtime.live(Counter, partition="nowhere") == []
    assert [ref.partition for ref in runtime.live(Sleepless)] == ["north", "south"]
    assert runtime.stats().live == 5


def test_agents_stay_out_of_the_global_registry(runtime: Runtime) -> None:
    """Nobody else in the process can stop a runtime's agents by pykka's registry (IM-16)."""
    ref = runtime.get(Counter, "a")
    ref.ask(Counter.add, 1)

    pykka.ActorRegistry.stop_all()

    assert pykka.ActorRegistry.get_all() == []
    assert ref.ask(Counter.add, 1) == 2
    assert runtime.stats().thaws == 1


def test_two_runtimes_on_one_storage_respect_each_other(storage: FaultyStorage) -> None:
    """Two runtimes may use one agent of one storage: neither overwrites the other (IM-17)."""
    with Runtime(storage) as one, Runtime(storage) as two:
        for number in range(10):
            assert one.get(Counter, "a").ask(Counter.add) == 2 * number + 1
            assert two.get(Counter, "a").ask(Counter.add) == 2 * number + 2
        assert one.stats().conflicts + two.stats().conflicts > 0


# -- keys and partitions -----------------------------------------------------------------------


def test_addresses_tell_kind_partition_and_key(runtime: Runtime, storage: FaultyStorage) -> None:
    """An agent is stored under its kind, its partition and its key (IM-20)."""
    for key, partition in (("a/b", None), ("a/b", "p"), ("a/b", "x/y@%")):
        runtime.get(Counter, key, partition=partition).ask(Counter.add)

    assert [record.key for record in storage.list_checkpoints()] == [
        "counter/a/b",
        "counter@p/a/b",
        "counter@x%2Fy%40%25/a/b",
    ]


@pytest.mark.parametrize("key", ["user-1", "ä/😀 'x'", "..", " ", "%2F", "a\nb", "x" * 500])
def test_a_key_is_the_agents_id(runtime: Runtime, key: str) -> None:
    """Any text can be a key, and the agent's id is that text, also after a thaw (IM-21)."""

    class Named(Agent):
        """Knows its id."""

        seen: list[str] = Field(default_factory=list)

        def look(self) -> list[str]:
            """Note the id."""
            self.seen.append(self.id)
            return self.seen

    ref = runtime.get(Named, key)
    ref.ask(Named.look)
    ref.hibernate()

    assert ref.ask(Named.look) == [key, key]


def test_partitions_are_separate(runtime: Runtime) -> None:
    """One key in two partitions and in none is three agents, awake and asleep (IM-22, PE-5)."""
    alpha, beta, none = refs = [
        runtime.get(Counter, "a", partition=partition) for partition in ("alpha", "beta", None)
    ]
    for number, ref in enumerate(refs, start=1):
        ref.ask(Counter.add, number)

    alpha.hibernate()

    assert runtime.lookup(Counter, "a", partition="alpha") is None
    assert runtime.lookup(Counter, "a", partition="beta") == beta
    assert runtime.lookup(Counter, "a") == none
    assert [ref.ask(Counter.read) for ref in refs] == [1, 2, 3]


class Child(Agent):
    """Is made by its parent."""

    parent: str = ""

    def adopt(self, parent: str) -> str:
        """Take a parent; return the partition that this is in."""
        self.parent = parent
        return str(self.ref.partition)


class Parent(Agent):
    """Makes a child in its own partition."""

    def beget(self) -> str:
        """Make a child."""
        child = self.runtime.get(Child, "child", partition=self.ref.partition)
        return child.ask(Child.adopt, self.ref.address)


def test_an_agent_knows_and_hands_on_its_partition(runtime: Runtime, watch: Watch) -> None:
    """An agent, its events and its detached copy are of its partition (IM-22, IM-23)."""
    parent = runtime.get(Parent, "a", partition="alpha")

    assert parent.ask(Parent.beget) == "alpha"

    addresses = ["parent@alpha/a", "child@alpha/child"]
    assert [event.agent for event in watch.of(Thawed)] == addresses
    copy = runtime.thaw(Child, "child", partition="alpha")
    assert copy is not None
    assert copy.parent == "parent@alpha/a"
    assert runtime.thaw(Child, "child") is None
    with pytest.raises(ValueError, match="alpha"):
        runtime.hibernate(copy, partition="beta")


# -- failures and ends -------------------------------------------------------------------------


def test_a_failing_handler_ends_nobody(runtime: Runtime, watch: Watch) -> None:
    """A handler that raises is rolled back; the agent lives on and is stored later (IM-40)."""
    ref = runtime.get(Lazy, "a")
    ref.ask(Lazy.add, 5)
    ref.ask(Lazy.note, "kept")

    with pytest.raises(LookupError, match="no such thing"):
        ref.ask(Lazy.fail, "no such thing")
    ref.tell(Lazy.fail, "nobody hears this")

    assert ref.ask(Lazy.read) == 5
    assert ref.ask(Lazy.notes) == ["kept"]
    assert runtime.stats().thaws == 1
    assert [event.method for event in watch.of(DeadLetter)] == ["fail"]
    ref.hibernate()
    assert ref.ask(Lazy.read) == 5


def test_a_failure_before_the_end_does_not_prevent_saving(storage: FaultyStorage) -> None:
    """However its last turn ended, an agent is stored at the stop (IM-40)."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Lazy, "a")
        ref.ask(Lazy.add, 5)
        with pytest.raises(LookupError):
            ref.ask(Lazy.fail, "at last")

    saved = storage.get_checkpoint("lazy/a")
    assert saved is not None
    assert saved.value == {"count": 5}


def test_whoever_comes_after_a_crash_reads_the_checkpoint(storage: FaultyStorage) -> None:
    """An agent whose process is gone without a stop is restored where it is needed (IM-41)."""
    crashed = Runtime(storage)
    crashed.get(Counter, "a").ask(Counter.add, 5)

    with Runtime(storage) as successor:
        ref = successor.get(Counter, "a", initial={"count": 100})
        assert ref.ask(Counter.add) == 6

    crashed.stop()


def test_a_hibernation_that_cannot_save_keeps_the_agent(storage: FaultyStorage) -> None:
    """A save that fails is an error of ``hibernate``; nothing is dropped (IM-42)."""
    with Runtime(storage) as runtime:
        watch = Watch(runtime)
        ref = runtime.get(Lazy, "a")
        ref.ask(Lazy.add, 5)
        with storage.disconnected():
            with pytest.raises((CallTimeoutError, StorageError)):
                ref.options(timeout=0.05).hibernate()
            assert watch.of(SaveFailed)
            assert watch.of(Hibernated) == []
            assert ref.status().unsaved

        ref.hibernate()
        assert ref.ask(Lazy.read) == 5
