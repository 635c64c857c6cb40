"""When agents leave memory: idle, attached and touched ones."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from pydantic import Field

from tests.behaviours.kit import PATIENCE, Counter, Watch, pass_time
from torpor import (
    Agent,
    AgentRef,
    Hibernated,
    HibernationReason,
    HookFailed,
    Runtime,
    Thawed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage.faulty import FaultyStorage
    from torpor.testing import ManualClock


class Sleepless(Counter, idle_timeout=None):
    """Never idles."""


class Drowsy(Counter, idle_timeout=0):
    """Sleeps whenever nobody speaks to it."""


class Forgetful(Counter, durability="none"):
    """Is never stored."""


class Diary(Agent):
    """Writes down its hooks."""

    lines: list[str] = Field(default_factory=list)

    def on_start(self) -> None:
        """Note it."""
        self.lines.append("start")

    def on_thaw(self) -> None:
        """Note it."""
        self.lines.append("thaw")

    def on_hibernate(self) -> None:
        """Note it."""
        self.lines.append("hibernate")

    def read(self) -> list[str]:
        """Return the lines."""
        return self.lines


def test_idle_agents_hibernate(runtime: Runtime, clock: ManualClock, watch: Watch) -> None:
    """An agent that nobody spoke to for its idle timeout leaves memory (IM-30, IM-37)."""
    ref = runtime.get(Counter, "a")
    ref.ask(Counter.add)

    pass_time(runtime, clock, 9.9)
    assert runtime.lookup(Counter, "a") == ref
    pass_time(runtime, clock, 0.1)

    assert watch.wait(Hibernated) == [Hibernated(ref.address, HibernationReason.IDLE)]
    assert runtime.lookup(Counter, "a") is None


def test_agents_without_a_timeout_stay(runtime: Runtime, clock: ManualClock, watch: Watch) -> None:
    """``idle_timeout=None`` never hibernates for being idle (IM-30)."""
    runtime.get(Sleepless, "a").ask(Sleepless.add)
    runtime.get(Counter, "a").ask(Counter.add)

    pass_time(runtime, clock, 1e9)

    assert watch.wait(Hibernated) == [Hibernated("counter/a", HibernationReason.IDLE)]
    assert [ref.address for ref in runtime.live()] == ["sleepless/a"]


def test_no_patience_at_all_is_possible(runtime: Runtime, watch: Watch) -> None:
    """``idle_timeout=0`` hibernates as soon as nobody speaks; nothing is lost (IM-30)."""
    ref = runtime.get(Drowsy, "a")

    assert [ref.ask(Drowsy.add) for _ in range(20)] == list(range(1, 21))

    watch.wait(Hibernated)
    assert ref.ask(Drowsy.read) == 20


def test_attached_agents_stay(runtime: Runtime, clock: ManualClock, watch: Watch) -> None:
    """While anybody is attached an agent never idles (IM-31, IM-32)."""
    ref, other = runtime.get(Counter, "a"), runtime.get(Counter, "b")
    ref.ask(Counter.add)
    other.ask(Counter.add)

    with ref.attached() as attached:
        assert attached is ref
        pass_time(runtime, clock, 1000)
        assert watch.wait(Hibernated) == [Hibernated(other.address, HibernationReason.IDLE)]
        assert ref.status().state == "live"
        assert ref.status().attached == 1
        ref.ask(Counter.add)
        pass_time(runtime, clock, 1000)

        assert ref.status().state == "live"


def test_attachments_are_counted(runtime: Runtime, clock: ManualClock, watch: Watch) -> None:
    """An agent stays while one of several that attached is left (IM-31, IM-33, W-38)."""
    ref = runtime.get(Counter, "a")
    ref.ask(Counter.add)
    first, second = ref.attached(), runtime.get(Counter, "a").attached()

    first.__enter__()
    second.__enter__()
    assert ref.status().attached == 2
    first.__exit__(None, None, None)
    pass_time(runtime, clock, 1000)
    assert ref.status().state == "live"
    assert runtime.stats().attached == 1
    second.__exit__(None, None, None)

    pass_time(runtime, clock, 10)
    assert [event.agent for event in watch.wait(Hibernated)] == [ref.address]
    assert runtime.stats().attached == 0


def test_the_last_detach_starts_the_clock_anew(
    runtime: Runtime, clock: ManualClock, watch: Watch
) -> None:
    """After the last detach a whole idle timeout passes (IM-33)."""
    ref = runtime.get(Counter, "a")
    with ref.attached():
        ref.ask(Counter.add)
        pass_time(runtime, clock, 1000)

    pass_time(runtime, clock, 9.9)
    assert ref.status().state == "live"
    pass_time(runtime, clock, 0.1)

    assert watch.wait(Hibernated)
    assert ref.status().state == "asleep"


def test_who_fails_detaches(runtime: Runtime, clock: ManualClock, watch: Watch) -> None:
    """Leaving the block by an error detaches too (IM-34)."""
    ref = runtime.get(Counter, "a")
    ref.ask(Counter.add)

    with pytest.raises(LookupError), ref.attached():
        ref.ask(Counter.fail, "attached and failing")

    assert ref.status().attached == 0
    pass_time(runtime, clock, 10)
    assert watch.wait(Hibernated)


def test_touch_starts_the_clock_anew(runtime: Runtime, clock: ManualClock, watch: Watch) -> None:
    """A touched agent stays for another idle timeout; touching a sleeper does nothing (IM-35)."""
    ref, other = runtime.get(Counter, "a"), runtime.get(Counter, "b")
    ref.ask(Counter.add)
    other.ask(Counter.add)

    pass_time(runtime, clock, 9)
    ref.touch()
    pass_time(runtime, clock, 9)

    assert [event.agent for event in watch.wait(Hibernated)] == [other.address]
    assert ref.status().state == "live"
    pass_time(runtime, clock, 1)
    watch.wait(Hibernated, 2)
    ref.touch()
    assert ref.status().state == "asleep"


def test_touching_does_not_end_an_attachment(runtime: Runtime, clock: ManualClock) -> None:
    """A touch while somebody is attached starts no clock (IM-35)."""
    ref = runtime.get(Counter, "a")
    ref.ask(Counter.add)

    with ref.attached():
        ref.touch()
        pass_time(runtime, clock, 1000)

        assert ref.status().state == "live"


def tell(ref: AgentRef[Counter]) -> None:
    """Tell and wait, without another message, until it was handled."""
    bell = threading.Event()
    ref.tell(Counter.ring, bell)
    assert bell.wait(PATIENCE)


def fail(ref: AgentRef[Counter]) -> None:
    """Ask what fails."""
    with pytest.raises(LookupError):
        ref.ask(Counter.fail, "on purpose")


MESSAGES: dict[str, Callable[[AgentRef[Counter]], object]] = {
    "ask": lambda ref: ref.ask(Counter.read),
    "submit": lambda ref: ref.submit(Counter.read).get(),
    "tell": tell,
    "proxy": lambda ref: ref.proxy().count.get(),
    "failing": fail,
}
LOOKS: dict[str, Callable[[Runtime, AgentRef[Counter]], object]] = {
    "status": lambda _, ref: ref.status(),
    "lookup": lambda runtime, ref: runtime.lookup(Counter, ref.key),
    "live": lambda runtime, _: runtime.live(),
    "stats": lambda runtime, _: runtime.stats(),
    "get": lambda runtime, ref: runtime.get(Counter, ref.key),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_starts_the_clock_anew(
    runtime: Runtime, clock: ManualClock, watch: Watch, message: str
) -> None:
    """Calls of any kind, reading ones and failing ones too, keep an agent awake (IM-36, W-6)."""
    ref = runtime.get(Counter, "a")
    ref.ask(Counter.add)

    for _ in range(5):
        pass_time(runtime, clock, 9)
        MESSAGES[message](ref)

    assert watch.of(Hibernated) == []
    assert runtime.stats().thaws == 1


@pytest.mark.parametrize("look", LOOKS)
def test_looking_does_not_start_the_clock_anew(
    runtime: Runtime, clock: ManualClock, watch: Watch, look: str
) -> None:
    """What only looks at an agent neither wakes it nor keeps it awake (IM-36)."""
    ref = runtime.get(Counter, "a")
    ref.ask(Counter.add)

    pass_time(runtime, clock, 9)
    LOOKS[look](runtime, ref)
    pass_time(runtime, clock, 1)

    assert watch.wait(Hibernated)
    LOOKS[look](runtime, ref)
    assert runtime.stats().live == 0


def test_a_timer_that_was_overtaken_is_ignored(
    runtime: Runtime, clock: ManualClock, watch: Watch
) -> None:
    """The timer of an earlier rest does not hibernate an agent that was used since (IM-37)."""
    ref = runtime.get(Counter, "a")
    for _ in range(3):
        ref.ask(Counter.add)
        pass_time(runtime, clock, 4)
        ref.ask(Counter.add)
        pass_time(runtime, clock, 4)
    ref.hibernate()
    ref.ask(Counter.add)

    pass_time(runtime, clock, 9)

    assert [event.reason for event in watch.of(Hibernated)] == [HibernationReason.REQUESTED]
    assert ref.status().state == "live"


def test_a_message_stops_a_hibernation_that_is_under_way(
    runtime: Runtime, clock: ManualClock, watch: Watch, storage: FaultyStorage
) -> None:
    """An idle agent that is spoken to while it is being saved stays in memory (IM-37, W-7)."""
    ref = runtime.get(Diary, "a")
    ref.ask(Diary.read)
    with storage.hang_next("commit") as hang:
        pass_time(runtime, clock, 10)
        assert hang.entered.wait(PATIENCE)
        assert ref.status().state == "hibernating"
        reply = ref.submit(Diary.read)

    assert reply.get() == ["start", "hibernate"]
    assert ref.status().state == "live"
    assert runtime.stats().thaws == 1
    assert watch.of(Hibernated) == []


def test_who_idled_comes_back(runtime: Runtime, clock: ManualClock, watch: Watch) -> None:
    """The next message finds the agent as it was, its thread included (IM-38)."""
    ref = runtime.get(Counter, "a")
    ref.ask(Counter.add, 99)
    ref.ask(Counter.note, "before")
    pass_time(runtime, clock, 10)
    watch.wait(Hibernated)

    assert ref.ask(Counter.read) == 99
    assert ref.ask(Counter.note, "after") == 2
    assert ref.ask(Counter.notes) == ["before", "after"]
    assert [event.fresh for event in watch.of(Thawed)] == [True, False]


def test_who_is_never_stored_begins_anew(
    runtime: Runtime, clock: ManualClock, watch: Watch, storage: FaultyStorage
) -> None:
    """With ``durability="none"`` the next life begins with the defaults (IM-38)."""
    ref = runtime.get(Forgetful, "a")
    ref.ask(Forgetful.add, 99)
    pass_time(runtime, clock, 10)
    watch.wait(Hibernated)

    assert ref.ask(Forgetful.read) == 0
    assert storage.calls == {}


def test_attaching_to_a_sleeper_is_no_error(
    runtime: Runtime, clock: ManualClock, watch: Watch
) -> None:
    """Whoever attaches needs no luck: the agent stays once it is awake (IM-39)."""
    ref, other = runtime.get(Counter, "a"), runtime.get(Counter, "b")
    ref.ask(Counter.add)
    ref.hibernate()

    with ref.attached():
        assert ref.status().state == "asleep"
        assert ref.ask(Counter.add) == 2
        other.ask(Counter.add)
        pass_time(runtime, clock, 1000)
        watch.wait(Hibernated, 2)

        assert ref.status().state == "live"


def test_hooks_mark_an_agents_lives(runtime: Runtime, watch: Watch) -> None:
    """Hooks run where a life begins, goes on or pauses; what they change is kept (IM-38)."""
    ref = runtime.get(Diary, "a")
    for _ in range(2):
        ref.ask(Diary.read)
        ref.hibernate()

    assert ref.ask(Diary.read) == ["start", "hibernate", "thaw", "hibernate", "thaw"]
    assert watch.of(HookFailed) == []
