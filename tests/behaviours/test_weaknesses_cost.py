"""Weaknesses of the systems that came before: what is read, written or copied for nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field

from tests.behaviours.kit import PATIENCE, Counter, Eventual, Lazy, Watch, pass_time, together
from tests.runtime.kit import eventually
from torpor import Agent, Hibernated, Runtime, Thawed
from torpor.storage import Change, Entry, Put, ThreadWrite

if TYPE_CHECKING:
    from pathlib import Path

    from torpor.storage.faulty import FaultyStorage
    from torpor.testing import ManualClock

LONG = 100_000


@pytest.fixture
def long(storage: FaultyStorage) -> str:
    """Store a counter with a long thread; return its key."""
    entries = tuple(
        Entry(kind="note", payload={"text": str(number)}, at=0.0, id=f"e{number}")
        for number in range(LONG)
    )
    storage.commit(
        [
            Change(
                key="counter/long",
                put=Put(data='{"count":0}', kind="counter"),
                thread=ThreadWrite(id="counter/long#1", entries=entries),
            )
        ]
    )
    storage.calls.clear()
    storage.batches.clear()
    return "long"


def test_a_life_costs_nothing_for_its_history(
    runtime: Runtime, storage: FaultyStorage, long: str
) -> None:
    """Thaw, append and hibernate with 100,000 entries behind reads none of them (W-31)."""
    ref = runtime.get(Counter, long)

    assert ref.ask(Counter.note, "new") == LONG + 1
    ref.hibernate()

    assert storage.calls == {"read": 1, "read_entry_ids": 1, "commit": 1}
    [[change]] = storage.batches
    assert change.thread is not None
    assert len(change.thread.entries) == 1


def test_each_append_costs_the_same(runtime: Runtime, storage: FaultyStorage, long: str) -> None:
    """The entry behind 100,000 others is written in the steps and the size of the first (W-32)."""

    def cost(key: str) -> list[tuple[int, int, int]]:
        ref = runtime.get(Counter, key)
        ref.ask(Counter.read)
        before = storage.calls.total()
        storage.batches.clear()
        for _ in range(10):
            ref.ask(Counter.note, "new")
        assert storage.calls.total() - before == 10
        return [
            (len(batch), len(change.put.data) if change.put else 0, len(change.thread.entries))
            for batch in storage.batches
            for change in batch
            if change.thread
        ]

    assert cost(long) == cost("short") == [(1, len('{"count":0}'), 1)] * 10


def test_an_append_writes_few_rows(tmp_path: Path) -> None:
    """On SQLite one turn with one entry writes one record and one entry, however many (W-32)."""
    path = tmp_path / "store.db"
    with Runtime(f"sqlite:///{path}") as runtime, closing(sqlite3.connect(path)) as connection:
        ref = runtime.get(Counter, "a")
        connection.execute("CREATE TABLE writes (what TEXT)")
        for table in ("checkpoints", "threads", "entries"):
            for event in ("INSERT", "UPDATE", "DELETE"):
                connection.execute(
                    f"CREATE TRIGGER {table}_{event} AFTER {event} ON {table}"  # noqa: S608 - literals
                    f" BEGIN INSERT INTO writes VALUES ('{table}'); END"
                )
        connection.commit()
        ref.ask(Counter.note, *map(str, range(500)))
        connection.execute("DELETE FROM writes")
        connection.commit()

        for _ in range(10):
            ref.ask(Counter.note, "new")

        counted = connection.execute("SELECT what, count(*) FROM writes GROUP BY what").fetchall()
    assert dict(counted) == {"checkpoints": 10, "entries": 10}


def test_unchanged_agents_are_not_rewritten(
    runtime: Runtime, storage: FaultyStorage, clock: ManualClock, watch: Watch
) -> None:
    """Reading, idling, thawing and stopping write nothing that is stored already (W-33)."""
    refs = [runtime.get(cls, "a") for cls in (Counter, Lazy, Eventual)]
    for ref in refs:
        ref.ask(Counter.add)
        ref.hibernate()
    writes = storage.calls["commit"]

    for life in range(1, 4):
        for ref in refs:
            assert ref.ask(Counter.read) == 1
            assert ref.ask(Counter.add, 0) == 1
            assert ref.ask(Counter.notes) == []
        pass_time(runtime, clock, 10)
        refs[-1].hibernate()
        watch.wait(Hibernated, 3 * (life + 1))

    assert storage.calls["commit"] == writes


def test_a_call_copies_no_state(runtime: Runtime) -> None:
    """Handlers work on the one live object: what is large is neither copied nor reread (W-34)."""

    class Large(Agent):
        """Holds much, in a field that is not saved so that no saving hides a copy."""

        blob: Any = Field(default=None, exclude=True)

        def take(self, blob: Any) -> tuple[int, int]:
            """Hold ``blob``; return who holds what."""
            self.blob = blob
            return id(self), id(self.blob)

        def look(self) -> tuple[int, int]:
            """Return who holds what."""
            return id(self), id(self.blob)

    ref = runtime.get(Large, "a")
    blob = bytearray(1 << 20)

    held = ref.ask(Large.take, blob)

    assert held[1] == id(blob)
    assert [ref.ask(Large.look) for _ in range(3)] == [held] * 3
    assert ref.submit(Large.look).get() == held


def test_concurrent_first_messages_thaw_once(
    runtime: Runtime, storage: FaultyStorage, watch: Watch
) -> None:
    """A hundred first messages at once make one read and one agent, with all of them (W-35)."""
    storage.put_checkpoint("counter/a", {"count": 1000}, kind="counter")
    storage.calls.clear()
    ref = runtime.get(Counter, "a")
    with storage.hang_next("read") as hang:
        replies = [ref.submit(Counter.add)]
        assert hang.entered.wait(PATIENCE)
        replies += together(*[lambda: ref.submit(Counter.add)] * 99)

    assert sorted(reply.get() for reply in replies) == list(range(1001, 1101))
    assert storage.calls["read"] == 1
    assert len(watch.of(Thawed)) == 1


def test_thaws_are_batched(runtime: Runtime, storage: FaultyStorage) -> None:
    """Agents that are wanted while others are read are read together (W-35)."""
    with storage.hang_next("read") as hang:
        replies = [runtime.get(Counter, "first").submit(Counter.add)]
        assert hang.entered.wait(PATIENCE)
        replies += [runtime.get(Counter, str(n)).submit(Counter.add) for n in range(50)]
        waiting = runtime.manager.loads._waiting  # pyright: ignore[reportPrivateUsage]
        eventually(lambda: len(waiting) == 50)

    assert [reply.get() for reply in replies] == [1] * 51
    assert storage.calls["read"] == 2
