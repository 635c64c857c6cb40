"""Weaknesses of the systems that came before, each shown to be none here.

Those that need a process to die are in ``test_weaknesses_processes``.
"""

from __future__ import annotations

import enum
import json
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field
from pydantic.errors import PydanticSchemaGenerationError

from tests.behaviours.kit import PATIENCE, Counter, Gate, Watch, pass_time, records, saved, together
from torpor import (
    Agent,
    Hibernated,
    HibernationReason,
    InvalidStateError,
    Runtime,
    StopError,
    Thawed,
)
from torpor.storage import Change, Entry, Put, ThreadWrite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torpor.storage.faulty import FaultyStorage
    from torpor.testing import ManualClock


class Lazy(Counter, durability="hibernate"):
    """Is stored when it falls asleep."""


class Eventual(Counter, durability="interval", flush_interval=5, idle_timeout=None):
    """Is stored every five seconds."""


class Patient(Counter):
    """Has a handler that takes as long as the test wants."""

    def wait(self, gate: Gate) -> int:
        """Count while standing at ``gate``."""
        gate.pass_through()
        self.count += 1
        return self.count


# -- data loss and availability ----------------------------------------------------------------


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


# -- cost --------------------------------------------------------------------------------------

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

    assert [reply.get() for reply in replies] == [1] * 51
    assert storage.calls["read"] == 2


# -- administration ----------------------------------------------------------------------------


def test_what_is_stored_can_be_listed_and_removed(runtime: Runtime, storage: FaultyStorage) -> None:
    """Stored agents are listed by class and partition, deleted whole, and vacuumed (W-36)."""
    for key, partition in (("a", None), ("b", None), ("a", "p")):
        runtime.get(Counter, key, partition=partition).ask(Counter.note, "x")
    runtime.get(Lazy, "a").ask(Lazy.note, "x")
    runtime.get(Lazy, "a").hibernate()

    stored = records(storage, "counter/")
    assert [record.key for record in stored] == ["counter/a", "counter/b"]
    assert all(record.updated_at > 0 for record in stored)
    assert [r.key for r in records(storage, "counter@p/")] == ["counter@p/a"]

    threads = [record.thread.id for record in records(storage) if record.thread]
    assert len(threads) == 4
    runtime.get(Counter, "a").delete()
    storage.delete_checkpoint("lazy/a")
    assert len(records(storage)) == 2
    assert [storage.load_thread(thread) is None for thread in threads] == [True, False, False, True]
    assert runtime.get(Lazy, "a").ask(Lazy.notes) == []

    assert storage.vacuum(older_than=-1e10) == 2
    assert storage.vacuum(older_than=-1e10) == 0


def test_deleting_is_no_error_for_who_is_not_there(runtime: Runtime) -> None:
    """An agent can be deleted asleep, awake, twice, and before it was born (W-36)."""
    ref = runtime.get(Counter, "a", initial={"count": 5})
    ref.delete()
    assert ref.ask(Counter.add) == 6
    ref.delete()
    ref.delete()
    assert runtime.thaw(Counter, "a") is None
    ref.ask(Counter.note, "x")
    ref.hibernate()
    ref.delete()

    assert runtime.thaw(Counter, "a") is None
    assert ref.ask(Counter.notes) == []


def test_lives_can_be_watched(runtime: Runtime, watch: Watch) -> None:
    """Each thaw and each hibernation is an event, and is counted (W-36)."""
    ref = runtime.get(Counter, "a")
    for _ in range(2):
        ref.ask(Counter.add)
        ref.hibernate()

    assert watch.events == [
        Thawed(ref.address, fresh=True, rev=0),
        Hibernated(ref.address, HibernationReason.REQUESTED),
        Thawed(ref.address, fresh=False, rev=1),
        Hibernated(ref.address, HibernationReason.REQUESTED),
    ]
    assert (runtime.stats().thaws, runtime.stats().hibernations) == (2, 2)


def test_a_renamed_class_keeps_its_agents(storage: FaultyStorage) -> None:
    """Under the old kind a renamed or moved class finds what it stored (W-37)."""

    class Renamed(Counter, kind="counter"):
        """Was once called Counter."""

    with Runtime(storage) as runtime:
        runtime.get(Counter, "a").ask(Counter.add, 5)
        runtime.get(Counter, "a").ask(Counter.note, "before")
    with Runtime(storage) as runtime:
        ref = runtime.get(Renamed, "a")
        assert ref.ask(Renamed.add) == 6
        assert ref.ask(Renamed.notes) == ["before"]
    with Runtime(storage) as runtime:
        assert runtime.get(Counter, "a").ask(Counter.read) == 6


def read_sqlite(path: Path) -> tuple[Any, list[Any]]:
    """Return the state and the entries with Python's own SQLite and JSON."""
    with closing(sqlite3.connect(path)) as connection:
        [(data,)] = connection.execute("SELECT data FROM checkpoints WHERE key = 'counter/a'")
        entries = connection.execute("SELECT document FROM entries ORDER BY seq").fetchall()
    return json.loads(data), [json.loads(document) for (document,) in entries]


def read_files(path: Path) -> tuple[Any, list[Any]]:
    """Return the state and the entries with Python's own files and JSON."""
    [record] = path.glob("checkpoints/*.json")
    [log] = path.glob("threads/*/entries.jsonl")
    lines = log.read_text("utf-8").splitlines()
    return (
        json.loads(record.read_text("utf-8"))["value"],
        [json.loads(line)["entry"] for line in lines],
    )


@pytest.mark.parametrize(("backend", "read"), [("sqlite", read_sqlite), ("file", read_files)])
def test_what_is_stored_is_json(
    tmp_path: Path, backend: str, read: Callable[[Path], tuple[Any, list[Any]]]
) -> None:
    """Any program can read what is stored; nothing in it is code (W-39)."""
    path = tmp_path / "store"
    with Runtime(f"{backend}:///{path}") as runtime:
        runtime.get(Counter, "a").ask(Counter.add, 5)
        runtime.get(Counter, "a").ask(Counter.note, "ü\n😀")

    state, [entry] = read(path)

    assert state == {"count": 5}
    assert (entry["kind"], entry["payload"], entry["refs"]) == ("note", {"text": "ü\n😀"}, {})
    for file in path.parent.rglob("*"):
        assert not file.is_file() or b"tests.behaviours" not in file.read_bytes()
