"""One URL changes and nothing else: agents live and sleep in the same way on every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.places.registry import PLACES, SHARED
from tests.proof.tally import Tally
from torpor import ConflictDetected, Runtime, Thawed
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.storage import Storage


@pytest.fixture(params=PLACES)
def storage(request: pytest.FixtureRequest, empty_place: Callable[[str], str]) -> Iterator[Storage]:
    """Return a storage on each backend, which several runtimes can share, in memory too."""
    with open_storage(empty_place(request.param)) as storage:
        yield storage


@pytest.fixture
def runtime(storage: Storage) -> Iterator[Runtime]:
    """Return a runtime whose agents hibernate when they are told to."""
    with Runtime(storage) as runtime:
        yield runtime


def test_hibernated_agent_goes_on(runtime: Runtime) -> None:
    """State and thread come back with the next message (PE-30, PE-37)."""
    tally = runtime.get(Tally, "é one")
    assert tally.ask(Tally.add) == 1
    tally.hibernate()
    assert runtime.stats().live == 0

    assert tally.ask(Tally.add) == 2

    assert tally.ask(Tally.history) == [1, 2]
    assert runtime.get(Tally, "É one").ask(Tally.history) == []


def test_agents_outlive_their_runtime(storage: Storage) -> None:
    """What was answered is there for the next runtime, as after a restart (IM-38)."""
    for expected in range(1, 4):
        with Runtime(storage) as runtime:
            assert runtime.get(Tally, "one").ask(Tally.add) == expected


def test_end_of_a_thread(runtime: Runtime) -> None:
    """An agent reads the newest entries of its thread without the others (TH-34)."""
    tally = runtime.get(Tally, "one")
    for reply in [tally.submit(Tally.add) for _ in range(50)]:
        reply.get()
    tally.hibernate()

    assert tally.ask(Tally.newest, 3) == [48, 49, 50]


def test_deleted_agent_starts_anew(runtime: Runtime, storage: Storage) -> None:
    """Its state and thread go in one, and the next message meets a fresh one (DESIGN 5, Delete)."""
    tally = runtime.get(Tally, "one")
    tally.ask(Tally.add)
    tally.ask(Tally.add)

    tally.delete()
    assert storage.get_checkpoint("tally/one") is None
    assert tally.ask(Tally.add) == 1
    tally.hibernate()

    assert tally.ask(Tally.history) == [1]


def test_conflict_is_run_again(storage: Storage) -> None:
    """A turn on a stale copy is run again on the newest state (DESIGN 5, Conflict)."""
    with Runtime(storage) as one, Runtime(storage) as other:
        conflicts: list[ConflictDetected] = []
        one.listen(conflicts.append, ConflictDetected)
        tally = one.get(Tally, "one")
        tally.ask(Tally.add)
        assert other.get(Tally, "one").ask(Tally.add) == 2

        assert tally.ask(Tally.add) == 3

        assert tally.ask(Tally.history) == [1, 2, 3]
        assert len(conflicts) == 1


def test_many_agents_wake_at_once(storage: Storage) -> None:
    """A hundred thaw together, each once (IM-10)."""
    keys = [f"tally {number}" for number in range(100)]
    for expected in (1, 2):
        with Runtime(storage) as runtime:
            thawed: list[Thawed] = []
            runtime.listen(thawed.append, Thawed)
            replies = [runtime.get(Tally, key).submit(Tally.add) for key in keys]
            assert [reply.get() for reply in replies] == [expected] * len(keys)
            assert len(thawed) == len(keys)


def test_agents_that_never_stay_awake(storage: Storage) -> None:
    """With ``always_thaw`` each message finds the agent asleep, and all goes on as ever."""
    with Runtime(storage, always_thaw=True) as runtime:
        tally = runtime.get(Tally, "one")
        assert [tally.ask(Tally.add) for _ in range(5)] == [1, 2, 3, 4, 5]
        tally.tell(Tally.add)
        assert tally.ask(Tally.history) == [1, 2, 3, 4, 5, 6]


def test_few_of_many_are_awake(storage: Storage) -> None:
    """Fifty agents take turns in room for five, and none loses anything (DESIGN 5, Idle, HC-26)."""
    keys = [f"tally {number}" for number in range(50)]
    with Runtime(storage, max_live=5) as runtime:
        for expected in (1, 2):
            replies = [runtime.get(Tally, key).submit(Tally.add) for key in keys]
            assert [reply.get() for reply in replies] == [expected] * len(keys)


@pytest.mark.parametrize("url", SHARED, indirect=True)
def test_url_is_all_that_changes(url: str) -> None:
    """The same program finds its agents again wherever the URL points."""
    for expected in (1, 2):
        with Runtime(url) as runtime:
            assert runtime.get(Tally, "one").ask(Tally.add) == expected
