"""``track_commands=True``: an agent's thread tells which commands it carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field

from tests.behaviours.kit import Counter, Watch, saved
from torpor import Agent, DeadLetter, HookFailed, InvalidArgumentsError, InvalidStateError, Runtime

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage


class Tracked(Agent, track_commands=True):
    """Journals its commands."""

    numbers: list[int] = Field(default_factory=list[int])

    def add(self, /, n: int = 1, *more: int, secret: str = "", **others: Any) -> int:
        """Add ``n``, and what else there is."""
        self.numbers.append(n + sum(more) + len(secret) + len(others))
        return len(self.numbers)

    def note(self, text: str) -> None:
        """Append to the thread, as always."""
        self.thread.append("note", {"text": text})

    def fail(self, password: str) -> None:
        """Change everything, and fail."""
        self.numbers.clear()
        self.note(password)
        raise LookupError(password)

    def spoil(self, value: Any) -> None:
        """Leave a state that can't be thawed."""
        self.numbers.append(value)

    async def later(self, n: int) -> int:
        """Add, asynchronously."""
        self.numbers.append(n)
        return n

    def journal(self) -> list[tuple[str, Any]]:
        """Return the kinds and payloads of all entries."""
        return [(entry.kind, entry.payload) for entry in self.thread.entries()]


def journal(storage: FaultyStorage, address: str = "tracked/a") -> list[tuple[str, Any]]:
    """Return the kinds and payloads of all stored entries."""
    head = saved(storage, address).thread
    assert head is not None
    thread = storage.load_thread(head.id)
    assert thread is not None
    return [(entry.kind, entry.payload) for entry in thread]


def start(action: str, *names: str) -> tuple[str, dict[str, Any]]:
    """Return the entry before a command."""
    return "instruction_start", {"action": action} | ({"param_keys": [*names]} if names else {})


def end(action: str, *names: str, status: str = "ok") -> tuple[str, dict[str, Any]]:
    """Return the entry after a command."""
    return "instruction_end", start(action, *names)[1] | {"status": status}


def test_commands_are_not_tracked_by_default(runtime: Runtime, storage: FaultyStorage) -> None:
    """Without the option running commands makes no thread (ST-1)."""
    ref = runtime.get(Counter, "a")
    ref.ask(Counter.add, 1)
    with pytest.raises(LookupError):
        ref.ask(Counter.fail, "nothing of it")

    assert saved(storage, ref.address).thread is None


def test_tracking_can_be_the_runtimes_default(storage: FaultyStorage) -> None:
    """The option can be set for all classes of a runtime that say nothing of it (ST-2)."""

    class Untracked(Counter, track_commands=False):
        """Says no."""

    with Runtime(storage, track_commands=True) as runtime:
        runtime.get(Counter, "a").ask(Counter.add, 1)
        runtime.get(Untracked, "a").ask(Untracked.add, 1)

    assert journal(storage, "counter/a") == [start("add", "n"), end("add", "n")]
    assert saved(storage, "untracked/a").thread is None


def test_tracking_goes_on_behind_what_is_there(storage: FaultyStorage) -> None:
    """An agent that has a thread already is tracked in it, behind its entries (ST-2)."""

    class Before(Tracked, kind="tracked", track_commands=False):
        """Was not tracked yet."""

    with Runtime(storage) as runtime:
        runtime.get(Before, "a").ask(Before.note, "before")
    with Runtime(storage) as runtime:
        runtime.get(Tracked, "a").ask(Tracked.add)

    assert journal(storage) == [("note", {"text": "before"}), start("add"), end("add")]


def test_a_command_is_framed(runtime: Runtime, storage: FaultyStorage) -> None:
    """A start stands before what a command appends, an end with its status behind (ST-3, ST-4)."""
    runtime.get(Tracked, "a").ask(Tracked.note, "between")

    assert journal(storage) == [
        start("note", "text"),
        ("note", {"text": "between"}),
        end("note", "text"),
    ]


def test_parameters_are_named_if_there_are_any(runtime: Runtime, storage: FaultyStorage) -> None:
    """The names of the parameters that were given are told, if any were (ST-3)."""
    ref = runtime.get(Tracked, "a")
    ref.ask(Tracked.add)
    ref.ask(Tracked.add, 1)
    ref.ask(Tracked.add, n=1, secret="s", extra=0)  # noqa: S106 - no password
    ref.ask(Tracked.add, 1, 2, 3)

    given = [payload.get("param_keys") for _, payload in journal(storage)[::2]]
    assert given == [None, ["n"], ["n", "secret", "extra"], ["n", "*", "*"]]


def test_values_never_appear(runtime: Runtime, storage: FaultyStorage) -> None:
    """Neither arguments nor results nor the text of errors are recorded (ST-5)."""
    ref = runtime.get(Tracked, "a")
    ref.ask(Tracked.add, 4711, 4712, secret="hunter2", more="hunter3")  # noqa: S106 - it must not appear
    with pytest.raises(LookupError):
        ref.ask(Tracked.fail, "hunter4")
    ref.submit(Tracked.later, 4713).get()
    ref.proxy().add(4714).get()
    ref.tell(Tracked.fail, password="hunter5")  # noqa: S106 - it must not appear
    ref.hibernate()

    text = str(journal(storage))
    assert len(journal(storage)) == 10
    assert "hunter" not in text
    assert "471" not in text


def test_each_command_has_a_start_and_an_end(runtime: Runtime, storage: FaultyStorage) -> None:
    """Two commands are four entries, in order; async ones are tracked alike (ST-6)."""
    ref = runtime.get(Tracked, "a")
    replies = [ref.submit(Tracked.add, 1), ref.submit(Tracked.later, 2)]
    assert [reply.get() for reply in replies] == [1, 2]

    assert journal(storage) == [
        start("add", "n"),
        end("add", "n"),
        start("later", "n"),
        end("later", "n"),
    ]


def test_a_failing_command_is_tracked_and_rolled_back(
    runtime: Runtime, storage: FaultyStorage
) -> None:
    """Of a failed turn only its start and its end with an error stay; the next goes on (ST-6)."""
    watch = Watch(runtime)
    ref = runtime.get(Tracked, "a")
    ref.ask(Tracked.add, 1)
    ref.tell(Tracked.fail, "one")
    with pytest.raises(InvalidStateError):
        ref.ask(Tracked.spoil, "no number")

    assert ref.ask(Tracked.add, 2) == 2

    assert journal(storage)[2:6] == [
        start("fail", "password"),
        end("fail", "password", status="error"),
        start("spoil", "value"),
        end("spoil", "value", status="error"),
    ]
    assert [event.method for event in watch.of(DeadLetter)] == ["fail"]


def test_a_failing_hook_leaves_the_tracks(runtime: Runtime, storage: FaultyStorage) -> None:
    """What ``on_failure`` breaks is undone, and what happened is still told (ST-6)."""

    class Broken(Tracked, kind="tracked"):
        """Cannot even fail."""

        def on_failure(self, error: BaseException) -> None:
            """Append, and fail too."""
            self.note(str(error))
            raise ZeroDivisionError

    watch = Watch(runtime)
    ref = runtime.get(Broken, "a")
    with pytest.raises(LookupError):
        ref.ask(Broken.fail, "x")

    assert [event.hook for event in watch.of(HookFailed)] == ["on_failure"]
    assert journal(storage) == [start("fail", "password"), end("fail", "password", status="error")]


def test_what_was_no_command_is_not_tracked(runtime: Runtime) -> None:
    """A call that is refused at the caller, a field, a hibernation: none is a command (ST-6)."""
    ref = runtime.get(Tracked, "a")
    with pytest.raises(InvalidArgumentsError):
        ref.ask(Tracked.note)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    ref.hibernate()

    assert ref.ask(Tracked.journal) == [start("journal")]


def test_entries_stay_one_each_when_a_turn_is_run_again(storage: FaultyStorage) -> None:
    """A turn that was run again after a conflict is in the thread once (ST-6)."""
    with Runtime(storage) as one, Runtime(storage) as two:
        one.get(Tracked, "a").ask(Tracked.add, 1)
        two.get(Tracked, "a").ask(Tracked.later, 1)

        one.get(Tracked, "a").ask(Tracked.note, "again")
        assert one.stats().conflicts == 1

    assert [kind for kind, _ in journal(storage)] == [
        "instruction_start",
        "instruction_end",
        "instruction_start",
        "instruction_end",
        "instruction_start",
        "note",
        "instruction_end",
    ]
