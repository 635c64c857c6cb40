"""What nobody waits for yet costs nothing, however much of it there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.runtime.kit import eventually
from tests.schedules.kit import Planner
from torpor import Runtime
from torpor.schedules import Schedule
from torpor.storage import Change, Put, Saved
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    import pytest

    from tests.runtime.quiet import QuietClock
    from torpor.storage import Storage


def test_ten_thousand_schedules_are_no_ten_thousand_steps(
    clock: QuietClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle tick reads what is due by the index, and nothing else: no thread, no scan."""
    count = 10_000
    rows: list[int] = []
    with MemoryStorage() as memory, FaultyStorage(memory) as storage:
        section = '{"$torpor":{"v":1,"schedules":[%s]},"rings":[]}'
        for n in range(count):
            at = clock.time() + 1000 + n
            schedule = f'{{"id":"job","method":"ring","next_at":{at},"every":1e6}}'
            storage.put_checkpoint(f"planner/{n}", 0, kind="planner", wake_at=at)
            _put(storage, f"planner/{n}", section % schedule, at)
        inner = storage.list_due

        def counted(before: float, limit: int = 100) -> Any:
            due = inner(before, limit)
            rows.append(len(due))
            return due

        monkeypatch.setattr(storage, "list_due", counted)
        storage.calls.clear()
        with Runtime(storage, clock=clock, agents=[Planner]) as runtime:
            for polls in range(1, 6):
                eventually(lambda count=polls: len(rows) >= count)  # type: ignore[misc]
                clock.settle()
                clock.advance(2)
            assert storage.calls.keys() == {"list_due"}
            assert sum(rows) == 0
            assert runtime.stats().workers <= 2
            clock.advance(1000)
            eventually(lambda: runtime.stats().turns >= 11)
        assert sum(rows) < 100


def _put(storage: Storage, key: str, data: str, at: float) -> None:
    change = Change(key=key, put=Put(data=data, kind="planner"), wake_at=at, at=at)
    [saved] = storage.commit([change])
    assert isinstance(saved, Saved)


def test_next_ticks_are_computed_not_counted() -> None:
    """A schedule of every second that slept for a year is moved on in one step."""
    schedule = Schedule(id="a", method="ring", next_at=0.0, every=1.0)
    planned = schedule.plan(31_536_000.5)
    assert planned.after is not None
    assert (planned.missed, planned.after.next_at) == (31_536_000, 31_536_001.0)
