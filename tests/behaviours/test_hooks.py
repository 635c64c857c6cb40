"""When hooks run, and what becomes of what they change."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field

from tests.behaviours.kit import PATIENCE, Counter, Watch, saved
from torpor import (
    Agent,
    AgentRef,
    Hibernated,
    HibernationReason,
    HookFailed,
    InvalidStateError,
    Runtime,
    ThawError,
)

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage


class Diary(Agent):
    """Writes down its hooks, in a field and in its thread."""

    lines: list[str] = Field(default_factory=list[str])
    broken: set[str] = Field(default_factory=set[str])

    def on_start(self) -> None:
        """Note it."""
        self.note("start")

    def on_thaw(self) -> None:
        """Note it."""
        self.note("thaw")

    def on_hibernate(self) -> None:
        """Note it."""
        self.note("hibernate")

    def on_failure(self, error: BaseException) -> None:
        """Note it."""
        self.note(f"failure: {error}")

    def note(self, line: str) -> None:
        """Note a line, and fail if that is broken."""
        self.lines.append(line)
        self.thread.append("line", line)
        if line.partition(":")[0] in self.broken:
            raise ZeroDivisionError(line)

    def crack(self, *hooks: str) -> None:
        """Let these hooks fail from now on."""
        self.broken = set(hooks)

    def read(self) -> list[str]:
        """Return the lines, which are those of the thread."""
        assert self.lines == [entry.payload for entry in self.thread.entries()]
        return list(self.lines)

    def fail(self) -> None:
        """Note that, and fail."""
        self.note("lost")
        msg = "on purpose"
        raise LookupError(msg)


def test_a_life_is_framed_by_hooks(storage: FaultyStorage) -> None:
    """``on_start`` in the first life, ``on_thaw`` in later ones, ``on_hibernate`` at each end."""
    for life in (["start"], ["hibernate", "thaw"], ["hibernate", "thaw"]):
        with Runtime(storage) as runtime:
            ref = runtime.get(Diary, "a")
            lines = ref.ask(Diary.read)
            assert lines[-len(life) :] == life
            assert ref.ask(Diary.read) == lines
    assert saved(storage, "diary/a").value["lines"] == [
        *["start", "hibernate", "thaw", "hibernate", "thaw", "hibernate"],
    ]


def test_hooks_of_a_failed_first_turn_run_again(runtime: Runtime) -> None:
    """``on_start`` and ``on_thaw`` are part of the first turn: undone with it, then repeated."""
    ref = runtime.get(Diary, "a")

    with pytest.raises(LookupError):
        ref.ask(Diary.fail)
    assert ref.ask(Diary.read) == ["failure: on purpose", "start"]

    ref.hibernate()
    with pytest.raises(LookupError):
        ref.ask(Diary.fail)
    assert ref.ask(Diary.read)[-2:] == ["failure: on purpose", "thaw"]


def test_a_failing_start_fails_the_first_turn(runtime: Runtime) -> None:
    """What ``on_start`` or ``on_thaw`` raises reaches the caller; the handler does not run."""
    ref = runtime.get(Diary, "a", initial={"broken": ["start"]})

    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="start"):
            ref.ask(Diary.crack, "nothing")

    other = runtime.get(Diary, "b")
    other.ask(Diary.crack, "thaw")
    other.hibernate()
    with pytest.raises(ZeroDivisionError, match="thaw"):
        other.ask(Diary.crack, "nothing")


def test_a_failing_hibernate_hook_does_not_prevent_saving(
    runtime: Runtime, storage: FaultyStorage, watch: Watch
) -> None:
    """If ``on_hibernate`` raises, the state before it is saved and an event says so."""
    ref = runtime.get(Diary, "a")
    ref.ask(Diary.crack, "hibernate")

    ref.hibernate()

    assert [(event.agent, event.hook) for event in watch.of(HookFailed)] == [
        (ref.address, "on_hibernate")
    ]
    record = saved(storage, ref.address)
    assert record.value["lines"] == ["start"]
    assert record.thread is not None
    assert record.thread.rev == 1


def test_a_failing_failure_hook_changes_nothing(runtime: Runtime, watch: Watch) -> None:
    """If ``on_failure`` raises, the caller still gets the first error, and an event tells."""
    ref = runtime.get(Diary, "a")
    ref.ask(Diary.crack, "failure")

    with pytest.raises(LookupError, match="on purpose"):
        ref.ask(Diary.fail)

    assert ref.ask(Diary.read) == ["start"]
    assert [event.hook for event in watch.of(HookFailed)] == ["on_failure"]


class Reporter(Agent):
    """Tells others of its failures."""

    bell: Any = Field(default=None, exclude=True)

    def try_it(self, bell: threading.Event) -> None:
        """Fail."""
        self.bell = bell
        msg = "on purpose"
        raise LookupError(msg)

    def on_failure(self, error: BaseException) -> None:
        """Have the bell rung by somebody else."""
        del error
        self.runtime.get(Counter, "bell").tell(Counter.ring, self.bell)


class Boss(Agent):
    """Asks a reporter, and fails with it."""

    def ask_reporter(self, reporter: AgentRef[Reporter], bell: threading.Event) -> None:
        """Ask."""
        reporter.ask(Reporter.try_it, bell)


@pytest.mark.parametrize("how", ["ask", "submit", "tell", "nested"])
def test_what_a_failure_hook_tells_is_sent(runtime: Runtime, how: str) -> None:
    """The messages of ``on_failure`` are its own agent's, whoever the caller was."""
    bell = threading.Event()
    reporter = runtime.get(Reporter, "a")
    match how:
        case "ask":
            with pytest.raises(LookupError):
                reporter.ask(Reporter.try_it, bell)
        case "submit":
            with pytest.raises(LookupError):
                reporter.submit(Reporter.try_it, bell).get()
        case "tell":
            reporter.tell(Reporter.try_it, bell)
        case _:
            with pytest.raises(LookupError):
                runtime.get(Boss, "b").ask(Boss.ask_reporter, reporter, bell)

    assert bell.wait(PATIENCE), "the message was lost"


class Unchecked(Agent, validate_on_save=False):
    """Can be brought into a state that is neither rolled back to nor thawed."""

    numbers: list[int] = Field(default_factory=list[int])

    def append(self, value: Any) -> int:
        """Append what may be no number."""
        self.numbers.append(value)
        return len(self.numbers)

    def append_and_fail(self, value: Any) -> None:
        """Append, and fail."""
        self.numbers.append(value)
        msg = "on purpose"
        raise LookupError(msg)


def test_what_cannot_be_rolled_back_is_dropped(
    runtime: Runtime, storage: FaultyStorage, watch: Watch
) -> None:
    """A copy that is beyond repair leaves memory; what was saved stays, and fails closed."""
    ref = runtime.get(Unchecked, "a")
    ref.ask(Unchecked.append, "no number")

    with pytest.raises(LookupError):
        ref.ask(Unchecked.append_and_fail, 2)

    with pytest.raises(ThawError):
        ref.ask(Unchecked.append, 3)
    assert [event.reason for event in watch.wait(Hibernated)] == [HibernationReason.DISCARDED]
    assert saved(storage, ref.address).value == {"numbers": ["no number"]}


class Flaky(Counter):
    """Has a ``restore`` that fails now and then."""

    @classmethod
    def restore(cls, data: dict[str, Any]) -> Flaky:
        """Fail if it is to."""
        if flaws and flaws.pop():
            msg = "now and then"
            raise OSError(msg)
        return super().restore(data)


flaws: list[bool] = []


def test_an_unreliable_restore_hook_loses_nothing(runtime: Runtime, watch: Watch) -> None:
    """If rolling back fails, the agent is thawed anew before the next message."""
    ref = runtime.get(Flaky, "a")
    assert ref.ask(Flaky.add) == 1

    flaws.append(True)
    with pytest.raises(LookupError):
        ref.ask(Flaky.fail, "x")

    assert ref.ask(Flaky.add) == 2
    assert [event.reason for event in watch.of(Hibernated)] == [HibernationReason.DISCARDED]

    flaws.append(True)
    with pytest.raises(InvalidStateError, match="now and then"):
        ref.ask(Flaky.add)
    assert ref.ask(Flaky.add) == 3
