"""What happens when a stored agent cannot be brought back: nothing is changed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from tests.behaviours.kit import Counter, Watch, pass_time
from tests.runtime.kit import eventually
from torpor import (
    CallTimeoutError,
    CorruptRecordError,
    MissingThreadError,
    Reply,
    Runtime,
    SchemaVersionError,
    StorageClosedError,
    Thawed,
    ThawError,
    ThawFailed,
    ThreadMismatchError,
)
from torpor.storage import codec
from torpor.storage.memory import MemoryStorage
from torpor.storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torpor.storage import Storage
    from torpor.storage.faulty import FaultyStorage
    from torpor.testing import ManualClock


class Fragile(Counter, kind="counter"):
    """Cannot be restored."""

    @classmethod
    def restore(cls, data: dict[str, Any]) -> Fragile:
        """Fail."""
        msg = f"cannot restore {sorted(data)}"
        raise OSError(msg)


def put(value: Any, **fields: Any) -> Callable[[Storage, Path], None]:
    """Return a way to store ``value`` as a counter."""
    kind = fields.pop("kind", "counter")

    def spoil(storage: Storage, path: Path) -> None:
        del path
        storage.put_checkpoint("counter/a", value, kind=kind, **fields)

    return spoil


def execute(*statements: str) -> Callable[[Storage, Path], None]:
    """Return a way to change the database itself."""

    def spoil(storage: Storage, path: Path) -> None:
        del storage
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return spoil


def exchange_newest(storage: Storage, path: Path) -> None:
    """Put another sound entry in the place of the newest."""
    del storage
    with closing(sqlite3.connect(path)) as connection, connection:
        [(thread_id, seq, document)] = connection.execute(
            "SELECT thread_id, seq, document FROM entries ORDER BY seq DESC LIMIT 1"
        )
        changed = json.dumps(json.loads(document) | {"id": "another"})
        connection.execute(
            "UPDATE entries SET document = ?, checksum = ? WHERE seq = ?",
            (changed, codec.entry_checksum(thread_id, seq, changed), seq),
        )


DAMAGES: dict[str, tuple[Callable[[Storage, Path], None], type[BaseException]]] = {
    "bytes changed": (
        execute("UPDATE checkpoints SET data = replace(data, '5', '6')"),
        CorruptRecordError,
    ),
    "no JSON": (execute("UPDATE checkpoints SET data = '{'"), CorruptRecordError),
    "thread gone": (execute("DELETE FROM entries"), MissingThreadError),
    "newest entry exchanged": (exchange_newest, ThreadMismatchError),
    "newest entry gone": (execute("DELETE FROM entries WHERE seq = 1"), ThreadMismatchError),
    "of another kind": (put({"count": 5}, kind="account"), CorruptRecordError),
    "of a newer version": (put({"count": 5}, version=2), SchemaVersionError),
    "state of a wrong type": (put({"count": "many"}), ValidationError),
    "state that is no object": (put([5]), ValidationError),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_thaw_that_fails_fails_closed(tmp_path: Path, damage: str) -> None:
    """What can't be thawed is an error and is left as it is (IM-50, IM-51, PE-34, W-10, W-14)."""
    spoil, cause = DAMAGES[damage]
    path = tmp_path / "store.db"
    with SQLiteStorage(path) as storage, Runtime(storage) as runtime:
        runtime.get(Counter, "a").ask(Counter.add, 5)
        runtime.get(Counter, "a").ask(Counter.note, "one", "two")
    with SQLiteStorage(path) as storage:
        spoil(storage, path)
    before = contents(path)

    with SQLiteStorage(path) as storage, Runtime(storage) as runtime:
        watch = Watch(runtime)
        ref = runtime.get(Counter, "a", initial={"count": 100})
        with pytest.raises(ThawError) as caught:
            ref.ask(Counter.add)
        assert isinstance(caught.value.__cause__, cause)
        with pytest.raises(ThawError) as caught:
            ref.submit(Counter.add).get()
        assert isinstance(caught.value.__cause__, cause)
        with pytest.raises(ThawError):
            runtime.thaw(Counter, "a")

        assert runtime.lookup(Counter, "a") is None
        assert runtime.stats().live == 0
        assert ref.status().state == "failed"
        assert isinstance(ref.status().error, cause)
        assert isinstance(watch.of(ThawFailed)[0].error, cause)
        assert runtime.get(Counter, "b").ask(Counter.add) == 1
        runtime.get(Counter, "b").delete()
    assert contents(path) == before


def contents(path: Path) -> list[Any]:
    """Return all records that are not deleted, and all entries."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute(
                "SELECT * FROM checkpoints WHERE NOT deleted ORDER BY key"
            ).fetchall(),
            connection.execute("SELECT * FROM entries ORDER BY thread_id, seq").fetchall(),
        ]


def test_a_failing_restore_hook_fails_closed(storage: FaultyStorage) -> None:
    """What ``restore`` raises is the cause; the checkpoint stays (IM-51, PE-33, PE-13)."""
    storage.put_checkpoint("counter/a", {"count": 5}, kind="counter")

    with Runtime(storage) as runtime:
        with pytest.raises(ThawError, match=r"cannot restore \['count'\]") as caught:
            runtime.get(Fragile, "a").ask(Fragile.add)
        assert isinstance(caught.value.__cause__, OSError)
        assert runtime.stats().live == 0

    with Runtime(storage) as runtime:
        assert runtime.get(Counter, "a").ask(Counter.read) == 5


def test_a_storage_that_fails_is_not_a_missing_agent(storage: FaultyStorage) -> None:
    """A read that fails for good is the cause of a ``ThawError``, not a fresh agent (IM-51)."""
    storage.put_checkpoint("counter/a", {"count": 5}, kind="counter")
    storage.fail_next("read", error=StorageClosedError("somebody closed it"))

    with Runtime(storage) as runtime:
        ref = runtime.get(Counter, "a")
        with pytest.raises(ThawError, match="somebody closed it") as caught:
            ref.ask(Counter.read)

    assert isinstance(caught.value.__cause__, StorageClosedError)


def test_a_storage_that_is_away_is_waited_for(storage: FaultyStorage) -> None:
    """A read that fails for now is tried again within the call's timeout (IM-51, PE-30)."""
    storage.put_checkpoint("counter/a", {"count": 5}, kind="counter")
    storage.fail_next("read", times=3)

    with Runtime(storage) as runtime:
        ref = runtime.get(Counter, "a")
        assert ref.ask(Counter.read) == 5
        ref.hibernate()
        with storage.disconnected(), pytest.raises(CallTimeoutError) as caught:
            ref.options(timeout=0.05).ask(Counter.add)
        assert caught.value.outcome == "not_run"

        assert ref.ask(Counter.read) == 5


def test_a_call_that_gave_up_leaves_no_failure(
    runtime: Runtime, clock: ManualClock, storage: FaultyStorage
) -> None:
    """A call that ran out of time during an outage says so; the next needs no back-off (IM-51)."""
    ref = runtime.get(Counter, "a")

    def settled(reply: Reply[int]) -> Reply[int]:
        def come() -> bool:
            pass_time(runtime, clock, 0.25)  # never so far that the thaw gives up for good
            return reply.done

        eventually(come)
        return reply

    with storage.disconnected():
        late = settled(ref.options(timeout=5).submit(Counter.add))
        with pytest.raises(CallTimeoutError, match="disconnected") as caught:
            late.get()
    assert caught.value.outcome == "not_run"

    assert settled(ref.options(timeout=None).submit(Counter.add)).get() == 1
    assert runtime.stats().thaws == 1


def test_a_repaired_agent_thaws_again(runtime: Runtime, clock: ManualClock) -> None:
    """A failed thaw is tried again after a while, and its failure is then forgotten (IM-50)."""
    storage = runtime.storage
    storage.put_checkpoint("counter/a", {"count": "many"}, kind="counter")
    ref = runtime.get(Counter, "a")
    with pytest.raises(ThawError):
        ref.ask(Counter.read)
    storage.put_checkpoint("counter/a", {"count": 5}, kind="counter")

    pass_time(runtime, clock, 5)

    assert ref.ask(Counter.read) == 5
    assert ref.status().state == "live"
    assert ref.status().error is None


def test_no_checkpoint_means_a_fresh_agent(runtime: Runtime, watch: Watch) -> None:
    """Only where nothing is stored a fresh agent begins (IM-50)."""
    assert runtime.get(Counter, "a").ask(Counter.add) == 1
    assert watch.of(Thawed) == [Thawed("counter/a", fresh=True, rev=0)]


def test_restore_runs_once_a_thaw() -> None:
    """A custom ``restore`` is called once for each thaw, and only then (IM-52)."""
    restored: list[dict[str, Any]] = []

    class Custom(Counter):
        """Notes what it is restored from."""

        @classmethod
        def restore(cls, data: dict[str, Any]) -> Custom:
            """Note it."""
            restored.append(data)
            return super().restore(data)

    with MemoryStorage() as storage:
        storage.put_checkpoint("custom/a", {"count": 5}, kind="custom")
        with Runtime(storage) as runtime:
            ref = runtime.get(Custom, "a")
            for _ in range(3):
                assert ref.ask(Custom.read) == 5
            assert restored == [{"count": 5}]
            ref.hibernate()
            ref.ask(Custom.read)
            assert restored == [{"count": 5}] * 2
