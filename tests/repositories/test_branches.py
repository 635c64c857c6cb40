"""Forks, snapshots and rewinds of agents, on a bare storage and in a runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from torpor import (
    Agent,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    Runtime,
    ThawError,
    hibernate,
    thaw,
)
from torpor.queue import EventQueue, Start, publish
from torpor.repositories import Branches, Repositories
from torpor.storage.faulty import Fail, FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from torpor.storage import Storage


class Story(Agent, kind="story"):
    """Lines in its thread, their number in its state."""

    lines: int = 0

    def write(self, line: str) -> int:
        """Add a line."""
        self.lines += 1
        self.thread.append("line", line)
        return self.lines

    def announce(self, line: str) -> None:
        """Add a line and publish that."""
        self.write(line)
        publish("news", line)

    def read(self) -> list[str]:
        """Return all lines that were not trimmed."""
        return [entry.payload for entry in self.thread.entries()]

    def forget(self, before: int) -> None:
        """Trim the thread."""
        self.lines += 0
        self.thread.trim(before)


def write(storage: Storage, key: str, *lines: str) -> None:
    """Add lines on a bare storage."""
    story = thaw(storage, Story, key)
    if story is None:
        hibernate(storage, Story(), key)
        story = thaw(storage, Story, key)
    assert story is not None
    for line in lines:
        story.write(line)
    hibernate(storage, story)


def read(storage: Storage, key: str) -> tuple[int, list[str]]:
    """Return the state and the lines as they are stored."""
    story = thaw(storage, Story, key)
    assert story is not None
    return story.lines, story.read()


def test_a_fork_goes_its_own_way(storage: Storage) -> None:
    """A fork has state and thread of its source; then neither sees the other (AX-12)."""
    write(storage, "a", "1", "2")
    assert Branches(storage).fork("story/a", "b") == "story/b"
    write(storage, "a", "3")
    write(storage, "b", "three")
    assert read(storage, "a") == (3, ["1", "2", "3"])
    assert read(storage, "b") == (3, ["1", "2", "three"])
    storage.delete_checkpoint("story/a")
    assert read(storage, "b") == (3, ["1", "2", "three"])


def test_entries_stay_the_same(storage: Storage) -> None:
    """Number, id and time of each entry are those of the source, also of a trimmed thread."""
    write(storage, "a", "1", "2", "3", "4")
    story = thaw(storage, Story, "a")
    assert story is not None
    story.forget(2)
    hibernate(storage, story)
    Branches(storage).fork("story/a", "b")
    source, fork = thaw(storage, Story, "a"), thaw(storage, Story, "b")
    assert source is not None
    assert fork is not None
    assert fork.thread.entries() == source.thread.entries()
    assert (fork.thread.start, fork.thread.rev) == (2, 4)
    fork.write("5")
    hibernate(storage, fork)
    assert read(storage, "b") == (5, ["3", "4", "5"])


def test_an_agent_without_a_thread_can_be_forked(storage: Storage) -> None:
    """A state alone is a point to go on from as well."""
    hibernate(storage, Story(lines=7), "a")
    Branches(storage).fork("story/a", "b")
    assert read(storage, "b") == (7, [])


def test_a_fork_overwrites_nobody(storage: Storage) -> None:
    """A key that is taken, or a source that is not there, is an error that changes nothing."""
    write(storage, "a", "1")
    write(storage, "b", "other")
    with pytest.raises(ConflictError):
        Branches(storage).fork("story/a", "b")
    with pytest.raises(NotFoundError, match="Agent not found: story/none"):
        Branches(storage).fork("story/none", "c")
    with pytest.raises(NotFoundError, match="Snapshot not found: none"):
        Branches(storage).fork("story/a", "c", snapshot="none")
    assert read(storage, "b") == (1, ["other"])
    assert thaw(storage, Story, "c") is None


def test_a_fork_keeps_its_tenant(storage: Storage) -> None:
    """A fork is in its source's partition unless another one is named."""
    hibernate(storage, Story(lines=1), "a", partition="x/y")
    branches = Branches(storage)
    assert branches.fork("story@x%2Fy/a", "b") == "story@x%2Fy/b"
    assert branches.fork("story@x%2Fy/a", "b", partition="z") == "story@z/b"
    assert thaw(storage, Story, "b", partition="z") is not None


def test_revisions_go_on_behind_a_deleted_agent(storage: Storage) -> None:
    """A fork to a key that was used and deleted reuses no revision (rule 4)."""
    write(storage, "a", "1")
    for n in range(5):
        write(storage, "b", f"{n}")
    storage.delete_checkpoint("story/b")
    Branches(storage).fork("story/a", "b")
    stored = storage.get_checkpoint("story/b")
    assert stored is not None
    assert stored.rev > 5


@pytest.mark.parametrize("step", range(4))
def test_an_interrupted_fork_can_be_repeated(step: int) -> None:
    """A crash leaves no half agent: none, one that refuses, or all of it; again works."""
    inner = MemoryStorage()
    write(inner, "a", "1", "2")
    crash = Fail(OSError("the process ends"), after=bool(step % 2))
    faulty = FaultyStorage(inner, {"commit": [None] * (step // 2) + [crash]})
    with pytest.raises(OSError, match="ends"):
        Branches(faulty).fork("story/a", "b")
    if step == 0:
        assert thaw(inner, Story, "b") is None
    if step in {1, 2}:
        with pytest.raises(ThawError):
            thaw(inner, Story, "b")
    if step < 3:
        Branches(inner).fork("story/a", "b")
    assert read(inner, "b") == (2, ["1", "2"])


def test_snapshots_and_the_way_back(storage: Storage) -> None:
    """An agent is what it was when it was saved, as often as is wanted (AX-12, W-30)."""
    branches = Branches(storage)
    write(storage, "a", "1")
    branches.snapshot("story/a", "one")
    write(storage, "a", "2")
    branches.snapshot("story/a", "two/2")
    write(storage, "a", "3")
    found = [(snapshot.name, snapshot.entries) for snapshot in branches.snapshots("story/a")]
    assert found == [("one", 1), ("two/2", 2)]
    for name, expected in [("one", ["1"]), ("two/2", ["1", "2"]), ("one", ["1"])]:
        branches.rewind("story/a", name)
        assert read(storage, "a") == (len(expected), expected)
        write(storage, "a", "other")
        assert read(storage, "a") == (len(expected) + 1, [*expected, "other"])
    branches.fork("story/a", "b", snapshot="two/2")
    assert read(storage, "b") == (2, ["1", "2"])


def test_a_snapshot_is_made_once_and_removed_for_good(storage: Storage) -> None:
    """A name that is taken is refused; a removed one is gone, and free again."""
    branches = Branches(storage)
    write(storage, "a", "1")
    branches.snapshot("story/a", "x")
    with pytest.raises(ConflictError):
        branches.snapshot("story/a", "x")
    for _ in range(2):
        branches.delete_snapshot("story/a", "x")
    assert branches.snapshots("story/a") == []
    with pytest.raises(NotFoundError):
        branches.rewind("story/a", "x")
    branches.snapshot("story/a", "x")


def test_a_deleted_agent_comes_back(storage: Storage) -> None:
    """Snapshots outlive their agent, and it can be rewound to one."""
    branches = Branches(storage)
    write(storage, "a", "1")
    branches.snapshot("story/a", "x")
    storage.delete_checkpoint("story/a")
    branches.rewind("story/a", "x")
    assert read(storage, "a") == (1, ["1"])


def test_snapshots_are_no_agents(storage: Storage) -> None:
    """They are in no list of agents, and nothing wakes them."""
    write(storage, "a", "1")
    Branches(storage).snapshot("story/a", "x")
    assert [record.key for record in storage.list_checkpoints("story/")] == ["story/a"]
    kinds = {record.kind for record in storage.list_checkpoints()}
    assert kinds == {"story", "snapshot/story"}
    assert list(storage.list_due(1e12)) == []


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_while_rewinding_loses_nothing(*, after: bool) -> None:
    """It is one change: the agent is as before, or rewound (W-30)."""
    inner = MemoryStorage()
    write(inner, "a", "1")
    Branches(inner).snapshot("story/a", "x")
    write(inner, "a", "2")
    faulty = FaultyStorage(inner)
    faulty.fail_next("commit", error=OSError("the process ends"), after=after)
    with pytest.raises(OSError, match="ends"):
        Branches(faulty).rewind("story/a", "x")
    assert read(inner, "a") == ((1, ["1"]) if after else (2, ["1", "2"]))


def test_agents_that_are_awake(storage: Storage) -> None:
    """By reference, what an awake agent has not saved yet is part of its branch."""
    with Runtime(storage, durability="hibernate") as runtime:
        branches = Branches(storage)
        story = runtime.get(Story, "a")
        story.ask(Story.write, "1")
        branches.snapshot(story, "one")
        story.ask(Story.write, "2")
        branches.fork(story, "b")
        assert runtime.get(Story, "b").ask(Story.read) == ["1", "2"]
        story.ask(Story.write, "3")
        branches.rewind(story, "one")
        assert story.ask(Story.read) == ["1"]
        assert story.ask(Story.write, "other") == 2
    assert read(storage, "a") == (2, ["1", "other"])


def test_a_rewind_under_a_running_agent_is_kept(storage: Storage) -> None:
    """Rewound by another process: a later turn runs on the rewound agent, not over it."""
    with Runtime(storage) as runtime:
        story = runtime.get(Story, "a")
        story.ask(Story.write, "1")
        Branches(storage).snapshot("story/a", "one")
        story.ask(Story.write, "2")
        Branches(storage).rewind("story/a", "one")
        assert story.ask(Story.write, "other") == 2
        assert story.ask(Story.read) == ["1", "other"]


class Nowhere:
    """A deliverer that never gets anywhere."""

    def deliver(self, messages: object, done: object) -> None:
        """Do nothing."""


def test_the_runtimes_own_books_are_not_branched(storage: Storage) -> None:
    """What waits in an outbox is sent by the original alone, rewound or not, and not lost."""
    branches = Branches(storage)
    with Runtime(storage) as runtime:
        runtime.manager.courier.register("topic", Nowhere())
        story = runtime.get(Story, "a")
        story.ask(Story.write, "1")
        branches.snapshot(story, "one")
        story.ask(Story.announce, "2")
    branches.fork("story/a", "b")
    branches.snapshot("story/a", "two")
    branches.rewind("story/a", "one")
    assert [due.key for due in storage.list_due(1e12)] == ["story/a"]
    with EventQueue(storage) as queue, Runtime(storage, agents=[Story]) as runtime:
        news = queue.subscribe("news", after=Start.EARLIEST)
        for key in "ab":
            runtime.get(Story, key).ask(Story.announce, "again")
        sources = [event.source for event in (news.get(30), news.get(30), news.get(30)) if event]
        assert sorted(map(str, sources)) == ["story/a", "story/a", "story/b"]
        assert news.get(0) is None
        assert runtime.get(Story, "a").ask(Story.read) == ["1", "again"]
        assert runtime.get(Story, "b").ask(Story.read) == ["1", "2", "again"]


def test_an_image_holds_a_saved_point(repositories: Repositories, storage: Storage) -> None:
    """An image of an agent can be forked and started, whatever became of the agent (AX-12)."""
    images = repositories.images
    write(storage, "a", "1")
    image = images.create("c", agent="story/a")
    write(storage, "a", "2")
    child = images.fork(image.image_id)
    images.delete(image.image_id)
    storage.delete_checkpoint("story/a")
    assert images.start(child.image_id, "b") == "story/b"
    assert read(storage, "b") == (1, ["1"])
    images.delete(child.image_id)
    assert repositories.branches.snapshots("story/a") == []
    plain = images.create("c")
    with pytest.raises(ConfigurationError, match="no agent"):
        images.start(plain.image_id, "x")
