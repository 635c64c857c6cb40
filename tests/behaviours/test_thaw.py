"""How a stored agent comes back, as it was or as its class is today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.behaviours.kit import Counter, saved
from torpor import (
    Agent,
    Runtime,
    StorageClosedError,
    StorageUnavailableError,
    ThawError,
    hibernate,
    thaw,
)

if TYPE_CHECKING:
    from torpor.storage.faulty import FaultyStorage


def test_a_missing_checkpoint_is_none(storage: FaultyStorage) -> None:
    """A manual thaw of what isn't there is None; a failing storage is an error (PE-30)."""
    assert thaw(storage, Counter, "a") is None

    storage.fail_next("read", error=StorageClosedError("gone"))
    with pytest.raises(StorageClosedError):
        thaw(storage, Counter, "a")


def test_a_thawed_agent_is_whole(storage: FaultyStorage) -> None:
    """State, id and thread come back, on a bare storage as in a runtime (PE-30)."""
    with Runtime(storage) as runtime:
        runtime.get(Counter, "a").ask(Counter.add, 5)
        runtime.get(Counter, "a").ask(Counter.note, "one", "two")

    copy = thaw(storage, Counter, "a")

    assert copy is not None
    assert (copy.id, copy.count, copy.thread.rev, copy.notes()) == ("a", 5, 2, ["one", "two"])


def test_kind_and_version_are_checked_before_hooks_run(storage: FaultyStorage) -> None:
    """Neither ``migrate`` nor ``restore`` sees a record that is not the class's own (PE-31)."""
    calls: list[str] = []

    class Hooked(Counter, version=2):
        """Notes its hooks."""

        @classmethod
        def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
            """Note it."""
            calls.append(f"migrate {from_version}")
            return data

        @classmethod
        def restore(cls, data: dict[str, Any]) -> Hooked:
            """Note it."""
            calls.append("restore")
            return super().restore(data)

    storage.put_checkpoint("hooked/kind", {"count": 1}, kind="other", version=2)
    storage.put_checkpoint("hooked/newer", {"count": 1}, kind="hooked", version=3)
    storage.put_checkpoint("hooked/shape", [1], kind="hooked", version=1)
    for key in ("kind", "newer", "shape"):
        with pytest.raises(ThawError):
            thaw(storage, Hooked, key)
    assert calls == []

    storage.put_checkpoint("hooked/good", {"count": 1}, kind="hooked", version=1)
    assert thaw(storage, Hooked, "good") is not None
    assert calls == ["migrate 1", "restore"]


def test_fields_that_are_new_have_their_defaults(storage: FaultyStorage) -> None:
    """A field that was not stored has its default; one that is gone is ignored (PE-32, HC-20)."""
    storage.put_checkpoint("counter/a", {"removed": [1]}, kind="counter")

    with Runtime(storage) as runtime:
        assert runtime.get(Counter, "a").ask(Counter.add) == 1

    assert saved(storage, "counter/a").value == {"count": 1}


def test_what_restore_raises_reaches_the_caller(storage: FaultyStorage) -> None:
    """A failing ``restore`` or ``migrate`` is the cause of a ``ThawError`` (PE-33, PE-35)."""

    class Failing(Counter, kind="counter", version=2):
        """Cannot migrate."""

        @classmethod
        def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
            """Fail."""
            msg = f"no way from {from_version} with {data}"
            raise OSError(msg)

    class Wrong(Counter, kind="counter"):
        """Restores nothing."""

        @classmethod
        def restore(cls, data: dict[str, Any]) -> Any:
            """Return no agent."""
            return data

    class Confused(Counter, kind="counter", version=2):
        """Migrates to nothing."""

        @classmethod
        def migrate(cls, data: dict[str, Any], from_version: int) -> Any:
            """Return no state."""
            return [data, from_version]

    storage.put_checkpoint("counter/a", {"count": 5}, kind="counter")
    causes: list[tuple[type[Counter], type[Exception], str]] = [
        (Failing, OSError, "no way from 1"),
        (Wrong, TypeError, "restore"),
        (Confused, TypeError, "migrate"),
    ]
    for cls, cause, text in causes:
        with pytest.raises(ThawError, match=text) as caught:
            thaw(storage, cls, "a")
        assert isinstance(caught.value.__cause__, cause)
        with Runtime(storage) as runtime, pytest.raises(ThawError, match=text):
            runtime.get(cls, "a").ask(Counter.add)
    assert saved(storage, "counter/a").value == {"count": 5}


def test_a_threads_entries_come_back_in_order(storage: FaultyStorage) -> None:
    """Order, kinds, payloads, references and times of entries survive (PE-34)."""

    class Writer(Agent):
        """Appends what it is given."""

        def write(self, kind: str, payload: Any, refs: dict[str, Any], at: float) -> None:
            """Append one entry."""
            self.thread.append(kind, payload, refs=refs, at=at, id=f"mine-{kind}")

        def read(self) -> list[tuple[Any, ...]]:
            """Return all entries."""
            return [(e.seq, e.kind, e.payload, e.refs, e.at, e.id) for e in self.thread.entries()]

    with Runtime(storage) as runtime:
        ref = runtime.get(Writer, "a")
        ref.ask(Writer.write, "message", {"text": "hi"}, {}, 1.5)
        ref.ask(Writer.write, "tool_call", ["x", None], {"entry_id": "mine-message"}, 2.5)
        before = ref.ask(Writer.read)
        ref.hibernate()

        assert ref.ask(Writer.read) == before
    assert before == [
        (0, "message", {"text": "hi"}, {}, 1.5, "mine-message"),
        (1, "tool_call", ["x", None], {"entry_id": "mine-message"}, 2.5, "mine-tool_call"),
    ]


class Profile(Agent, version=3):
    """Was once two fields, then one, and is now a list."""

    names: list[str]

    def read(self) -> list[str]:
        """Return the names."""
        return self.names

    def rename(self, *names: str) -> None:
        """Change the names."""
        self.names = list(names)

    @classmethod
    def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
        """Bring ``data`` up, version by version."""
        if from_version < 2:
            data = {"name": f"{data['first']} {data['last']}"}
        return {"names": data["name"].split()}


@pytest.mark.parametrize(
    ("version", "value"),
    [
        (1, {"first": "Ada", "last": "Lovelace"}),
        (2, {"name": "Ada Lovelace"}),
        (3, {"names": ["Ada", "Lovelace"]}),
    ],
)
def test_older_versions_are_migrated(
    storage: FaultyStorage, version: int, value: dict[str, Any]
) -> None:
    """An older state passes through ``migrate``; it is rewritten when it changes (PE-35, HC-20)."""
    storage.put_checkpoint("profile/a", value, kind="profile", version=version)
    with Runtime(storage) as runtime:
        ref = runtime.get(Profile, "a")
        assert ref.ask(Profile.read) == ["Ada", "Lovelace"]
        ref.hibernate()
        assert saved(storage, ref.address).version == version

        ref.ask(Profile.rename, "Ada")

        assert saved(storage, ref.address).version == 3
        assert saved(storage, ref.address).value == {"names": ["Ada"]}


def test_each_life_goes_on_from_the_last(storage: FaultyStorage) -> None:
    """Thaw, change, hibernate, thaw: each agent has its own latest state (PE-37)."""
    for life in range(1, 4):
        with Runtime(storage) as runtime:
            for number in range(5):
                ref = runtime.get(Counter, f"a{number}")
                assert ref.ask(Counter.add, number) == number * life
                assert ref.ask(Counter.note, f"life {life}") == life
                ref.hibernate()
                assert ref.ask(Counter.notes) == [f"life {n}" for n in range(1, life + 1)]


def test_manual_thaw_and_hibernate_are_a_round_trip(storage: FaultyStorage) -> None:
    """A copy that is changed and saved is what the next life finds (PE-37)."""
    with Runtime(storage) as runtime:
        runtime.get(Counter, "a").ask(Counter.add, 5)
        runtime.get(Counter, "a").hibernate()
        copy = runtime.thaw(Counter, "a")
        assert copy is not None
        copy.add(2)
        copy.note("by hand")
        assert runtime.hibernate(copy) == 2

        assert runtime.get(Counter, "a").ask(Counter.read) == 7
        assert runtime.get(Counter, "a").ask(Counter.notes) == ["by hand"]


def test_transient_failures_of_manual_calls_are_retried(storage: FaultyStorage) -> None:
    """Thaw and hibernate by hand try again what may pass (PE-30)."""
    storage.fail_next("commit", times=2, after=True)
    assert hibernate(storage, Counter(count=5), "a") == 1
    storage.fail_next("read", error=StorageUnavailableError("busy"), times=2)

    copy = thaw(storage, Counter, "a")

    assert copy is not None
    assert copy.count == 5
