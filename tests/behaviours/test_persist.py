"""What is stored of an agent, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import Field

from tests.behaviours.kit import Counter, saved
from torpor import (
    Agent,
    ConfigurationError,
    InvalidKeyError,
    Runtime,
    StorageClosedError,
    hibernate,
    thaw,
)
from torpor.storage import open_storage

if TYPE_CHECKING:
    from pathlib import Path

    from torpor.storage.faulty import FaultyStorage


# -- identity ----------------------------------------------------------------------------------


def test_the_storage_key_is_kind_partition_and_key(storage: FaultyStorage) -> None:
    """A checkpoint stands under the kind and key, and the partition if there is one (PE-1)."""
    with Runtime(storage) as runtime:
        runtime.get(Counter, "a").ask(Counter.add)
        runtime.get(Counter, "a", partition="p").ask(Counter.add)

    assert [record.key for record in storage.list_checkpoints()] == ["counter/a", "counter@p/a"]


def test_a_copy_made_by_hand_is_stored_under_its_key(storage: FaultyStorage) -> None:
    """An agent object becomes the agent of the key that it is hibernated under (PE-2)."""
    assert hibernate(storage, Counter(count=5), "a") == 1

    with Runtime(storage) as runtime:
        copy = runtime.thaw(Counter, "a")
        assert copy is not None
        assert (copy.id, copy.count) == ("a", 5)
        assert runtime.get(Counter, "a").ask(Counter.add) == 6


def test_a_storage_is_a_url_or_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: FaultyStorage
) -> None:
    """A runtime takes a URL, a storage, or nothing for the user's own folder (PE-3)."""
    monkeypatch.setenv("TORPOR_HOME", str(tmp_path / "home"))
    for place in (storage, f"file:///{tmp_path}/files", f"sqlite:///{tmp_path}/a.db", None):
        for count in (1, 2):
            with Runtime(place) as runtime:
                assert runtime.get(Counter, "a").ask(Counter.add) == count

    assert (tmp_path / "home" / "torpor.db").exists()


def test_a_storage_has_the_operations_of_the_field(storage: FaultyStorage) -> None:
    """Checkpoints are got, put and deleted; threads loaded, appended to and deleted (CP-1)."""
    assert storage.put_checkpoint("a", {"count": 1}) == 1
    assert storage.append_thread("a", {"kind": "note"}).rev == 1

    assert saved(storage, "a").value == {"count": 1}
    assert len(storage.load_thread("a") or ()) == 1
    storage.delete_checkpoint("a")
    storage.delete_thread("a")
    assert storage.get_checkpoint("a") is None
    assert storage.load_thread("a") is None


@pytest.mark.parametrize("place", [7, pytest.param(object(), id="object"), b"memory:"])
def test_anything_else_is_no_storage(place: Any) -> None:
    """What is neither a URL nor a storage is refused when the runtime is made (PE-3)."""
    with pytest.raises(ConfigurationError, match="storage"):
        Runtime(place)


def test_a_storage_that_was_passed_in_stays_open(tmp_path: Path) -> None:
    """Whoever opened a storage closes it: the runtime only what it opened itself (PE-3)."""
    url = f"sqlite:///{tmp_path}/a.db"
    with open_storage(url) as storage, Runtime(storage) as runtime:
        runtime.stop()
        assert storage.list_checkpoints().items == ()

    with Runtime(url) as runtime:
        opened = runtime.storage
    with pytest.raises(StorageClosedError):
        opened.list_checkpoints()


def test_what_is_no_agent_is_not_hibernated(storage: FaultyStorage) -> None:
    """An agent without a key, and what is no agent, are mistakes that are named (PE-4)."""
    with pytest.raises(InvalidKeyError, match="which key"):
        hibernate(storage, Counter())
    anything: Any = object()
    with pytest.raises(ConfigurationError, match="not a class of agents"):
        hibernate(storage, anything, "a")
    with pytest.raises(ConfigurationError, match="not a class of agents"):
        thaw(storage, int, "a")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    assert storage.calls == {}


def test_a_living_agent_is_not_hibernated_as_a_copy(runtime: Runtime) -> None:
    """An agent that lives in a runtime can't be taken from it under another key (PE-4)."""

    class Escaping(Counter):
        """Tries to leave."""

        def escape(self) -> None:
            """Save itself elsewhere."""
            self.runtime.hibernate(self, "elsewhere")

    ref = runtime.get(Escaping, "a")

    with pytest.raises(ConfigurationError, match="lives in a runtime"):
        ref.ask(Escaping.escape)
    assert ref.ask(Escaping.add) == 1
    assert runtime.thaw(Escaping, "elsewhere") is None


def test_a_copy_is_saved_where_it_came_from(storage: FaultyStorage) -> None:
    """A copy of one agent never becomes another, nor one of another partition (PE-5)."""
    for partition in (None, "p"):
        hibernate(storage, Counter(count=5), "a", partition=partition)
        copy = thaw(storage, Counter, "a", partition=partition)
        assert copy is not None
        copy.count += 1

        for wrong in ({"key": "b"}, {"partition": "q"}, {"key": "a", "partition": "q"}):
            with pytest.raises(InvalidKeyError, match="copy of"):
                hibernate(storage, copy, **wrong)

        assert hibernate(storage, copy, "a", partition=partition) == 2
        assert hibernate(storage, copy) == 3
    assert len(storage.list_checkpoints()) == 2


# -- the document ------------------------------------------------------------------------------


def test_a_record_is_versioned_and_points_at_the_thread(storage: FaultyStorage) -> None:
    """A record has kind, version, state, and of the thread only the head (PE-10, PE-11)."""

    class Cart(Counter, version=4):
        """Is of version 4."""

    with Runtime(storage) as runtime:
        runtime.get(Cart, "a").ask(Cart.note, "one", "two")

    record = saved(storage, "cart/a")
    assert (record.kind, record.version, record.rev) == ("cart", 4, 1)
    assert record.value == {"count": 0}
    assert record.thread is not None
    assert record.thread.rev == 2
    assert "one" not in record.data


class Custom(Agent):
    """Saves itself its own way."""

    count: int = 0
    _secret: str = ""

    def add(self) -> int:
        """Add 1."""
        self.count += 1
        self._secret = f"s{self.count}"
        return self.count

    def read(self) -> tuple[int, str]:
        """Return the count and the secret."""
        return self.count, self._secret

    def write(self, text: str) -> None:
        """Append to the thread."""
        self.thread.append("note", text)

    def checkpoint(self) -> dict[str, Any]:
        """Add a marker and what would otherwise not be saved."""
        return {
            "count": self.count,
            "marker": "extra",
            "version": 99,
            "thread": {"id": "a fake", "rev": 7, "entries": ["hidden"]},
            "secret": self._secret,
        }

    @classmethod
    def restore(cls, data: dict[str, Any]) -> Custom:
        """Bring back what ``checkpoint`` saved."""
        agent = cls(count=data["count"])
        agent._secret = data["secret"]
        return agent


def test_a_custom_checkpoint_keeps_what_it_adds(storage: FaultyStorage) -> None:
    """A checkpoint hook may save more than the fields, and restores it (PE-10, PE-12, PE-13)."""
    with Runtime(storage) as runtime:
        runtime.get(Custom, "a").ask(Custom.add)

    record = saved(storage, "custom/a")
    assert (record.value["marker"], record.value["version"]) == ("extra", 99)
    assert (record.kind, record.version) == ("custom", 1)
    with Runtime(storage) as runtime:
        assert runtime.get(Custom, "a").ask(Custom.read) == (1, "s1")


def test_a_custom_checkpoint_cannot_forge_the_thread(storage: FaultyStorage) -> None:
    """Whatever a hook returns, the record points at the agent's real thread (PE-11)."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Custom, "a")
        ref.ask(Custom.add)
        assert saved(storage, ref.address).thread is None
        ref.ask(Custom.write, "real")

    record = saved(storage, "custom/a")
    assert record.thread is not None
    assert (record.thread.rev, record.thread.id != "a fake") == (1, True)
    entries = storage.load_thread(record.thread.id)
    assert entries is not None
    assert [entry.payload for entry in entries] == ["real"]


class Album(Agent):
    """Keeps large data elsewhere: only a pointer to it is in the checkpoint."""

    title: str = ""
    picture: str = Field(default="", exclude=True)
    store: str = "album-store"

    def take(self, picture: str) -> None:
        """Keep a picture elsewhere."""
        self.picture = picture
        elsewhere[self.id] = picture

    def show(self) -> str:
        """Return the picture."""
        return self.picture

    def rename(self, title: str) -> None:
        """Take a title, and fail."""
        self.title = title
        raise LookupError(title)

    def on_thaw(self) -> None:
        """Fetch the picture."""
        self.picture = elsewhere[self.id]


elsewhere: dict[str, str] = {}


def test_a_field_can_be_kept_elsewhere(storage: FaultyStorage) -> None:
    """What is excluded is neither saved nor rolled back; a hook can fetch it (PE-12, PE-13)."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Album, "a", initial={"title": "Summer"})
        ref.ask(Album.take, "a large picture")
        with pytest.raises(LookupError):
            ref.ask(Album.rename, "Winter")
        assert ref.ask(Album.show) == "a large picture"
        ref.hibernate()

        assert saved(storage, ref.address).value == {"title": "Summer", "store": "album-store"}
        assert ref.ask(Album.show) == "a large picture"


def test_a_thread_that_was_never_used_is_not_stored(storage: FaultyStorage) -> None:
    """An agent that appended nothing has no thread, and comes back without one (PE-14)."""
    with Runtime(storage) as runtime:
        ref = runtime.get(Counter, "a")
        ref.ask(Counter.add)
        assert saved(storage, ref.address).thread is None
        ref.hibernate()

        assert ref.ask(Counter.notes) == []
        assert ref.ask(Counter.note, "first") == 1
