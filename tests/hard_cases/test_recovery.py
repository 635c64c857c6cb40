"""What a process left behind is brought to its end, also if those who try it die in turn."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lifecycle.kit import LifeClock, heal, running
from tests.messages.kit import Receiver, Sender, die_before, outbox_of
from tests.runtime.kit import eventually
from tests.schedules.kit import Planner, plan
from torpor import Runtime
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from torpor.storage import Storage
    from torpor.storage.faulty import Fault, Operation

CLASSES = (Planner, Receiver, Sender)
FAR = 1e12


class DyingStorage(FaultyStorage):
    """Lets so many operations pass, and none after them: its process is dead by then."""

    def __init__(self, inner: Storage, operations: int) -> None:
        super().__init__(inner)
        self.dead = False
        self._left = operations

    def _arrive(self, operation: Operation, keys: Collection[str] = ()) -> Fault:
        if self._left == 0:
            self.dead = True
            self.disconnect()
        else:
            self._left -= 1
        return super()._arrive(operation, keys)


def leave_work(storage: Storage, clock: LifeClock) -> None:
    """Leave messages of an agent, one from outside, and a due tick, as a dead process does."""
    with running(storage, clock=clock, wake_interval=None) as runtime:
        plan(runtime.get(Planner, "a"), "id", after=10, id="job")
        die_before(runtime.manager.courier, "send")
        die_before(runtime.manager.waker, "saved")
        runtime.get(Sender, "a").ask(Sender.pass_on, "b", "1", "2")
        runtime.get(Receiver, "b").send(Receiver.take, "3")
    clock.advance(30)


def later(clock: LifeClock, condition: Callable[[], bool]) -> None:
    """Let time pass, for retries and looks at the storage, until it comes to ``condition``."""

    def look() -> bool:
        clock.advance(2)
        return condition()

    eventually(look)


def survives(operations: int) -> bool:
    """Have one process recover until it dies, and another to the end; False if none died."""
    clock = LifeClock()
    with MemoryStorage() as memory, DyingStorage(memory, operations) as dying:
        leave_work(memory, clock)

        def nothing_is_left() -> bool:
            return memory.list_due(FAR) == []

        first = Runtime(dying, clock=clock, agents=CLASSES)
        later(clock, lambda: dying.dead or nothing_is_left())
        first.manager.close()  # no stop: nothing is tidied up
        with running(memory, clock=clock, agents=CLASSES) as second:
            later(clock, nothing_is_left)
            assert outbox_of(memory, second.get(Sender, "a")) == []
            received = second.get(Receiver, "b").ask(Receiver.received)
            assert sorted(received) == ["1", "2", "3"]
            assert received.index("1") < received.index("2")
            rings = second.get(Planner, "a").ask(Planner.rung)
            assert rings == ["job@2023-11-14T22:13:30+00:00"]
            assert list(second.dead_letters()) == []
        heal(dying)
        return dying.dead


def test_recovery_may_die_after_any_step() -> None:
    """Whichever operation was the last one, nothing is forgotten and nothing doubled (HC-27)."""
    Receiver.broken.clear()
    operations = 0
    while survives(operations):
        operations += 1
    assert operations > 5, "and it was many steps"
