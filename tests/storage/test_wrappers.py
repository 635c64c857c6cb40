"""A storage that wraps another shows the tools all that the other can show."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.places.registry import PLACES
from torpor.storage import Record, Space, Storage, open_storage
from torpor.storage.backend import Backend
from torpor.storage.check import check
from torpor.storage.encoded import EncodedStorage
from torpor.storage.encoding import Codec
from torpor.storage.errors import CorruptRecordError
from torpor.storage.faulty import FaultyStorage
from torpor.storage.inspection import Inspectable
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing.kit import append, owned
from torpor.storage.transfer import Export

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRAPPERS: dict[str, Callable[[Storage], Storage]] = {
    "faulty": FaultyStorage,
    "encoded": lambda inner: EncodedStorage(inner, Codec()),
}

HOOKS = {
    name
    for part in (Backend, Inspectable)
    for name, member in vars(part).items()
    if callable(member) and (name == "notifier" or not name.startswith("__"))
}
"""What a backend may define by itself; the public operations among them none does."""


@pytest.fixture(params=PLACES)
def inner(request: pytest.FixtureRequest, empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return a storage of each kind in turn."""
    with open_storage(empty_place(request.param)) as storage:
        yield storage


@pytest.fixture(params=WRAPPERS)
def wrap(request: pytest.FixtureRequest) -> Callable[[Storage], Storage]:
    """Return what wraps a storage."""
    return WRAPPERS[request.param]


def test_no_hook_is_forgotten(inner: Storage, wrap: Callable[[Storage], Storage]) -> None:
    """Whatever a backend defines by itself, a wrapper passes on."""
    defined = {name for name in HOOKS if _defines(inner, name)}
    with wrap(inner) as wrapper:
        assert defined
        assert {name for name in defined if not _defines(wrapper, name)} == set()


def _defines(storage: Storage, name: str) -> bool:
    return getattr(type(storage), name) is not getattr(Storage, name)


def test_the_tools_see_the_same(inner: Storage, wrap: Callable[[Storage], Storage]) -> None:
    """Keys, tombstones, threads without a record, and the notifier."""
    inner.commit([owned("agent", "agent#1", "a"), owned("gone", "gone#1", "a"), append("log", "a")])
    inner.delete_checkpoint("gone")
    with wrap(inner) as wrapper:
        for space in Space:
            for tombstones in (False, True):
                keys = list(inner.all_keys(space, tombstones=tombstones))
                assert list(wrapper.all_keys(space, tombstones=tombstones)) == keys
        assert list(wrapper.all_thread_ids()) == list(inner.all_thread_ids())
        assert list(wrapper.inspect()) == list(inner.inspect()) == []
        assert list(Export(wrapper)) == list(Export(inner))
        assert _kind_of_notifier(wrapper) is _kind_of_notifier(inner)


def _kind_of_notifier(storage: Storage) -> type[object]:
    notifier = storage.notifier()
    if notifier is not None:
        notifier.close()
    return type(notifier)


class TestDamage:
    """What is damaged in the wrapped storage."""

    @pytest.fixture
    def path(self, empty_place: Callable[[str], str]) -> str:
        """Return the path of a SQLite file whose records are damaged, and whose threads stray."""
        url = empty_place("sqlite")
        with open_storage(url) as storage:
            storage.commit([owned("a", "a#1", "x"), owned("b", "b#1", "x"), append("log", "x")])
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE checkpoints SET data = 'x' WHERE key = 'a'")
            connection.execute("DELETE FROM checkpoints WHERE key = 'b'")
        return path

    def test_is_found(self, path: str, wrap: Callable[[Storage], Storage]) -> None:
        """Undecodable records are looked at, and entries that belong to none are found."""
        with open_storage(f"sqlite:///{path}") as inner, wrap(inner) as wrapper:
            found = [(finding.problem, finding.where) for finding in check(wrapper)]

        assert found == [("record", "a"), ("orphan", "b#1")]

    def test_is_not_left_out(self, path: str, wrap: Callable[[Storage], Storage]) -> None:
        """An export ends at a record that it can't read."""
        with (
            open_storage(f"sqlite:///{path}") as inner,
            wrap(inner) as wrapper,
            pytest.raises(CorruptRecordError),
        ):
            list(Export(wrapper))


def test_a_fault_befalls_what_tools_ask() -> None:
    """A listing of keys can fail between two pages."""
    with MemoryStorage() as inner, FaultyStorage(inner, {"list_keys": [None]}) as faulty:
        for number in range(1_001):
            inner.put_checkpoint(f"{number:04d}", number)
        faulty.fail_next("list_keys", error=CorruptRecordError("0999", "torn"))
        keys = faulty.all_keys(Space.CHECKPOINTS)

        assert next(keys) == "0000"
        with pytest.raises(CorruptRecordError):
            list(keys)
        assert isinstance(faulty.read_records(Space.CHECKPOINTS, ["0000"])[0], Record)
