"""Weaknesses of the systems that came before, each shown to be none here: loss and availability.

What they cost is in ``test_weaknesses_cost``, how they are looked after in
``test_weaknesses_administration``; those that need a process to die are in
``test_weaknesses_processes``.
"""

from __future__ import annotations

import enum
import threading
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field
from pydantic.errors import PydanticSchemaGenerationError

from tests.behaviours.kit import (
    PATIENCE,
    Counter,
    Eventual,
    Gate,
    Lazy,
    Watch,
    pass_time,
    saved,
    together,
)
from torpor import Agent, Hibernated, HibernationReason, InvalidStateError, Runtime, StopError

if TYPE_CHECKING:
    from pathlib import Path

    from torpor.storage.faulty import FaultyStorage
    from torpor.testing import ManualClock


class Patient(Counter):
    """Has a handler that takes as long as the test wants."""

    def wait(self, gate: Gate) -> int:
        """Count while standing at ``gate``."""
        gate.pass_through()
        self.count += 1
        return self.count


def stop_while(clock: ManualClock, runtime: Runtime, *, timeout: float) -> BaseException | None:
    """Stop the runtime while time flies; return what that raised."""
    errors: list[BaseException | None] = []
    stopped = threading.Event()

    def stop() -> None:
        try:
            runtime.stop(timeout)
        except StopError as error:
            errors.append(error)
        else:
            errors.append(None)
        finally:
            stopped.set()

    threading.Thread(target=stop, daemon=True).start()
    while not stopped.wait(0.005):
        clock.advance(timeout)
    return errors[0]


def test_a_stop_that_cannot_save_says_so(storage: FaultyStorage, clock: ManualClock) -> None:
    """Whoever stops learns which agents could not be saved, and why (W-2)."""
    runtime = Runtime(storage, clock=clock)
    for key in "ab":
        runtime.get(Lazy, key).ask(Lazy.add, 5)

    with storage.disconnected():
        error = stop_while(clock, runtime, timeout=1)

    assert isinstance(error, StopError)
    assert sorted(error.unsaved) == ["lazy/a", "lazy/b"]
    assert all("disconnected" in str(cause) for cause in error.unsaved.values())
    assert error.stuck == ()


def test_a_stop_that_ran_out_of_time_says_so(storage: FaultyStorage, clock: ManualClock) -> None:
    """A handler that would not end is named; what was finished before it is saved (W-13)."""
    runtime = Runtime(storage, clock=clock)
    ref = runtime.get(Patient, "a")
    ref.ask(Patient.add, 5)
    gate = Gate()
    ref.tell(Patient.wait, gate)
    gate.wait_for_entry()

    error = stop_while(clock, runtime, timeout=1)
    gate.open()

    assert isinstance(error, StopError)
    assert error.stuck == (ref.address,)
    assert saved(storage, ref.address).value == {"count": 5}


def test_a_stop_returns_once_all_is_saved(storage: FaultyStorage) -> None:
    """When ``stop`` returns, nothing is on its way any more (W-13)."""
    runtime = Runtime(storage)
    runtime.get(Lazy, "a").ask(Lazy.add, 5)
    with storage.hang_next("commit") as hang:
        stopping = threading.Thread(target=runtime.stop, daemon=True)
        stopping.start()
        assert hang.entered.wait(PATIENCE)
        assert storage.get_checkpoint("lazy/a") is None
        assert stopping.is_alive()

    stopping.join(PATIENCE)
    assert saved(storage, "lazy/a").value == {"count": 5}


def test_loss_is_bounded_by_the_durability(storage: FaultyStorage, clock: ManualClock) -> None:
    """A crash loses what the durability allows: nothing, an interval, or a life (W-4)."""

    def stored(cls: type[Counter]) -> int | None:
        record = storage.get_checkpoint(f"{cls.agent_spec.kind}/a")
        return record.value["count"] if record else None

    with Runtime(storage, clock=clock) as runtime:
        for cls in (Counter, Eventual, Lazy):
            runtime.get(cls, "a").ask(Counter.add)
        assert [stored(cls) for cls in (Counter, Eventual, Lazy)] == [1, None, None]

        with storage.hang_next("commit", after=True) as hang:
            pass_time(runtime, clock, 5)
            assert hang.entered.wait(PATIENCE)
            assert [stored(cls) for cls in (Counter, Eventual, Lazy)] == [1, 1, None]

        runtime.get(Lazy, "a").hibernate()
        assert [stored(cls) for cls in (Counter, Eventual, Lazy)] == [1, 1, 1]


def test_busy_agents_are_not_put_to_sleep(
    runtime: Runtime, clock: ManualClock, watch: Watch
) -> None:
    """One whose handler runs, or whose messages wait, never idles; then it does (W-6, HC-12)."""
    ref = runtime.get(Patient, "a")
    gate = Gate()
    reply = ref.options(timeout=None).submit(Patient.wait, gate)
    gate.wait_for_entry()
    waiting = [ref.options(timeout=None).submit(Patient.add) for _ in range(3)]

    for _ in range(5):
        pass_time(runtime, clock, 1000)
    assert ref.status().running
    assert ref.status().waiting == 3
    assert watch.of(Hibernated) == []

    gate.open()
    assert [r.get() for r in (reply, *waiting)] == [1, 2, 3, 4]
    settled = ref.submit(Patient.read)
    assert settled.get() == 4
    watch_idle(runtime, clock, watch)
    assert ref.ask(Patient.read) == 4


def watch_idle(runtime: Runtime, clock: ManualClock, watch: Watch) -> None:
    """Wait until the only agent has idled, whenever it came to rest."""
    for _ in range(1000):
        pass_time(runtime, clock, 10)
        if watch.of(Hibernated):
            break
    assert [event.reason for event in watch.of(Hibernated)] == [HibernationReason.IDLE]


def test_no_message_is_lost_at_the_boundary_of_sleep() -> None:
    """Messages that meet an agent on its way to sleep are handled all the same (W-7)."""
    senders, rounds = 4, 500
    with Runtime("memory:", idle_timeout=0, max_live=2) as runtime:
        watch = Watch(runtime)

        def send() -> list[int]:
            refs = [runtime.get(Counter, str(number)) for number in range(5)]
            answers = [refs[n % 5].ask(Counter.add) for n in range(rounds)]
            for number in range(rounds):
                refs[number % 5].tell(Counter.add)
            return answers

        answers = together(*[send] * senders)

        counts = [runtime.get(Counter, str(number)).ask(Counter.read) for number in range(5)]
        assert counts == [2 * senders * rounds // 5] * 5
        assert runtime.stats().dead_letters == 0
        assert len(watch.of(Hibernated)) > 5
    assert all(len(set(mine[n::5])) == rounds // 5 for mine in answers for n in range(5))


@pytest.mark.parametrize("backend", ["memory:", "sqlite", "file"])
def test_a_thread_keeps_its_birthday(tmp_path: Path, clock: ManualClock, backend: str) -> None:
    """A thread was created when it was, whatever happened to its agent since (W-8)."""
    url = backend if ":" in backend else f"{backend}:///{tmp_path}/{backend}"
    with Runtime(url, clock=clock) as runtime:
        ref = runtime.get(Counter, "a")
        begun = clock.time()
        for _ in range(3):
            ref.ask(Counter.note, "x")
            ref.hibernate()
            clock.advance(100)

        head = saved(runtime.storage, ref.address).thread
    assert head is not None
    assert (head.created_at, head.updated_at) == (begun, begun + 200)


class Light(enum.Enum):
    """The state of a machine."""

    RED = "red"
    GREEN = "green"


class Machine(Agent):
    """A state machine that holds things of this process only."""

    light: Light = Light.RED
    anything: Any = None
    handle: Any = Field(default=None, exclude=True)
    _lock: Any = None

    def switch(self) -> Light:
        """Go to the other state."""
        self.light = Light.GREEN if self.light is Light.RED else Light.RED
        self.handle = self._lock = threading.Lock()
        return self.light

    def look(self) -> tuple[Light, bool, bool]:
        """Return the state, and whether the handles are there."""
        return self.light, self.handle is None, self._lock is None

    def hold(self, anything: Any) -> None:
        """Hold anything in a field that is stored."""
        self.anything = anything


def test_handles_are_not_stored(runtime: Runtime, storage: FaultyStorage) -> None:
    """What means nothing to another process is not saved, or refused; states survive (W-15)."""
    ref = runtime.get(Machine, "a")
    assert ref.ask(Machine.switch) is Light.GREEN
    for handle in (threading.Lock(), runtime, ref):
        with pytest.raises(InvalidStateError):
            ref.ask(Machine.hold, handle)

    assert saved(storage, ref.address).value == {"light": "green", "anything": None}
    assert ref.ask(Machine.look) == (Light.GREEN, False, False)
    ref.hibernate()
    assert ref.ask(Machine.look) == (Light.GREEN, True, True)


def test_fields_of_handles_are_refused() -> None:
    """A class with a field that could never be stored cannot be defined (W-15)."""
    with pytest.raises(PydanticSchemaGenerationError, match="Event"):

        class Holder(Agent):  # pyright: ignore[reportUnusedClass]
            """Wants to store a handle."""

            handle: threading.Event
