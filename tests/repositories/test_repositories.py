"""Containers, images and sessions: kept, found, and found only if they match."""

from __future__ import annotations

import re
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from torpor import ConflictError, CorruptRecordError, NotFoundError, SchemaVersionError
from torpor.repositories import Image, Repositories
from torpor.storage.faulty import Fail, FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.storage import Change, Storage
    from torpor.storage.records import Outcome
    from torpor.testing import ManualClock


def test_save_creates_and_updates(repositories: Repositories, clock: ManualClock) -> None:
    """Save stores what is new and replaces what is not; times say when (AX-10, AX-11)."""
    containers = repositories.containers
    created = containers.create("tenant", config={"plan": "free"})
    clock.advance(10)
    saved = containers.save(created.model_copy(update={"config": {"plan": "paid"}}))
    assert containers.find_by_id("tenant") == saved
    assert saved.config == {"plan": "paid"}
    assert saved.updated_at - saved.created_at == 10
    assert saved.created_at == created.created_at


def test_what_is_not_there(repositories: Repositories) -> None:
    """Finding nothing is None or [], deleting nothing is no error, getting it is one (AX-10)."""
    for repository in (repositories.containers, repositories.images, repositories.sessions):
        assert repository.find_by_id("x") is None
        assert not repository.exists("x")
        assert repository.find_all() == []
        repository.delete("x")
        with pytest.raises(NotFoundError, match="not found: x"):
            repository.get("x")


def test_lists_are_newest_first(repositories: Repositories, clock: ManualClock) -> None:
    """All lists are sorted by creation, newest first, whatever was saved last (AX-10, W-30)."""
    images: list[Image] = []
    for _ in range(5):
        images.append(repositories.images.create("c", name="n"))
        clock.advance(1)
    repositories.images.update_metadata(images[0].image_id, {"touched": True})
    expected = [image.image_id for image in reversed(images)]
    for found in (
        repositories.images.find_all(),
        repositories.images.find_by_name("n"),
        repositories.images.find_by_container("c"),
    ):
        assert [image.image_id for image in found] == expected
    sessions = repositories.sessions.find_by_container("c")
    assert [session.image_id for session in sessions] == expected


def test_delete_is_idempotent(repositories: Repositories) -> None:
    """What is deleted is in no list any more; deleting it again is no error (AX-10)."""
    image = repositories.images.create("c", name="n")
    for _ in range(2):
        repositories.images.delete(image.image_id)
        assert not repositories.images.exists(image.image_id)
        assert repositories.images.find_by_name("n") == []
        assert repositories.images.find_by_container("c") == []


def test_containers_have_a_folder_each(repositories: Repositories, tmp_path: Path) -> None:
    """Each id has its own working directory inside of home, also a hostile one (AX-11, W-30)."""
    ids = ["a", "A", "a/b", "a:b", "../../etc", "/etc", "a?x", "ü", "x" * 300]
    folders = [repositories.containers.create(name).working_directory for name in ids]
    assert len({str(folder).lower() for folder in folders}) == len(ids)
    for folder in folders:
        assert folder is not None
        assert Path(folder).is_dir()
        assert Path(folder).resolve().parent == (tmp_path / "home" / "containers").resolve()
    assert {c.container_id for c in repositories.containers.find_all()} == set(ids)


def test_a_container_is_created_once(repositories: Repositories) -> None:
    """A second container of an id is refused, and the first one stays as it is."""
    repositories.containers.create("a", config={"n": 1})
    with pytest.raises(ConflictError):
        repositories.containers.create("a")
    assert repositories.containers.get("a").config == {"n": 1}


def test_image_defaults(repositories: Repositories) -> None:
    """Ids have the known form, the name its default, and all fields are kept (AX-12)."""
    image = repositories.images.create(
        "c",
        description="d",
        system_prompt="be kind",
        mcp_servers={"files": {"command": "x"}},
        metadata={"a": 1},
        custom_data={"b": [1, None]},
    )
    assert re.fullmatch(r"img_[0-9a-z]+_[0-9a-z]{6}", image.image_id)
    assert re.fullmatch(r"sess_[0-9a-z]+_[0-9a-z]{6}", image.session_id)
    assert image.name == "New Conversation"
    assert repositories.images.get(image.image_id) == image


def test_metadata_is_merged(repositories: Repositories, clock: ManualClock) -> None:
    """New keys are added, others stay, ``updated_at`` moves; unknown ids are told (AX-12)."""
    image = repositories.images.create("c", metadata={"a": 1, "b": 2})
    clock.advance(5)
    updated = repositories.images.update_metadata(image.image_id, {"b": 3, "c": 4})
    assert updated.metadata == {"a": 1, "b": 3, "c": 4}
    assert updated.updated_at == image.updated_at + 5
    with pytest.raises(NotFoundError, match="Image not found: img_none"):
        repositories.images.update_metadata("img_none", {})


def test_merges_at_once_are_all_kept(storage: Storage) -> None:
    """Threads with repositories of their own merge metadata: nothing is lost."""
    image = Repositories(storage).images.create("c")

    def merge(name: str) -> None:
        Repositories(storage).images.update_metadata(image.image_id, {name: True})

    threads = [threading.Thread(target=merge, args=(f"{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    merged = Repositories(storage).images.get(image.image_id).metadata
    assert merged == {f"{n}": True for n in range(8)}


def test_an_image_comes_with_its_session(repositories: Repositories) -> None:
    """Creating an image creates its session, found by image and container (AX-13, AX-14)."""
    image = repositories.images.create("c")
    [session] = repositories.sessions.find_by_image(image.image_id)
    assert session.session_id == image.session_id
    assert repositories.sessions.find_by_container("c") == [session]
    assert repositories.sessions.find_all() == [session]
    assert repositories.sessions.find_by_id(image.session_id) == session


def test_a_deleted_image_takes_its_session_along(
    repositories: Repositories, storage: Storage
) -> None:
    """Session and messages go before the image, and nothing is left behind (AX-13)."""
    image = repositories.images.create("c", name="n")
    repositories.sessions.add_message(image.session_id, "user", "hi")
    repositories.images.delete(image.image_id)
    assert not repositories.sessions.exists(image.session_id)
    assert repositories.sessions.messages(image.session_id) == []
    assert [record.key for record in storage.list_checkpoints()] == []


def test_a_renamed_image_is_found_by_its_new_name_only(repositories: Repositories) -> None:
    """An index entry follows its record (W-30)."""
    image = repositories.images.create("c", name="old")
    image.name = "new"
    repositories.images.save(image)
    assert repositories.images.find_by_name("old") == []
    assert [i.image_id for i in repositories.images.find_by_name("new")] == [image.image_id]


def test_values_never_collide(repositories: Repositories) -> None:
    """Names with slashes, of any length or in any script are different names (W-30)."""
    names = ["a", "A", "a/b", "a%2Fb", "", "x" * 5000, "x" * 5001, "ü", "u\u0308"]
    for name in names:
        repositories.images.create("c", name=name)
    for name in names:
        assert [image.name for image in repositories.images.find_by_name(name)] == [name]


def test_finders_verify_what_the_index_says(repositories: Repositories, storage: Storage) -> None:
    """An entry without its record, or of before, is no hit (rule 12, W-30)."""
    image = repositories.images.create("c", name="right")
    index = repositories.images._index  # pyright: ignore[reportPrivateUsage]
    index.write(
        [
            index.entry("name", "wrong", image.image_id),
            index.entry("name", "wrong", "img_gone"),
        ],
        0.0,
    )
    assert len(list(storage.list_checkpoints("index:image/name/"))) == 3
    assert repositories.images.find_by_name("wrong") == []
    assert len(repositories.images.find_by_name("right")) == 1


@pytest.mark.parametrize("step", range(6))
def test_a_crash_at_any_step_hides_no_record(step: int) -> None:
    """However far a rename came, the image is found by the name that it has (rule 12, W-30)."""

    class Crashed(Exception):  # noqa: N818 - it stands for the end of the process
        pass

    inner = MemoryStorage()
    image = Repositories(inner).images.create("c", name="old")
    crash = Fail(Crashed(), after=bool(step % 2))
    faulty = FaultyStorage(inner, {"commit": [None] * (step // 2) + [crash]})
    image.name = "new"
    with pytest.raises(Crashed):
        Repositories(faulty).images.save(image)
    images = Repositories(inner).images
    [stored] = images.find_all()
    assert stored.name == ("old" if step < 3 else "new")
    assert images.find_by_name(stored.name) == [stored]
    assert images.find_by_name("old" if step >= 3 else "new") == []
    images.save(stored.model_copy(update={"name": "old"}))
    assert len(images.find_by_name("old")) == 1


def test_an_entry_that_is_wanted_again_stays() -> None:
    """Renamed back while the old name's entry is to be removed: it is found by it (W-30)."""
    inner = MemoryStorage()
    image = Repositories(inner).images.create("c", name="old")

    class Interleaved(FaultyStorage):
        renamed = False

        def commit(self, changes: Sequence[Change]) -> list[Outcome]:
            outcomes = super().commit(changes)
            if changes[0].key == f"image:{image.image_id}" and not self.renamed:
                self.renamed = True
                back = partial(Image.model_copy, update={"name": "old"})
                Repositories(inner).images.update(image.image_id, back)
            return outcomes

    forth = partial(Image.model_copy, update={"name": "new"})
    Repositories(Interleaved(inner)).images.update(image.image_id, forth)
    images = Repositories(inner).images
    assert [found.image_id for found in images.find_by_name("old")] == [image.image_id]
    assert images.find_by_name("new") == []


def test_renames_at_once_hide_no_record(storage: Storage) -> None:
    """Threads rename one image back and forth: in the end it is found by its name (W-30)."""
    image = Repositories(storage).images.create("c", name="0")

    def rename(begin: int) -> None:
        images = Repositories(storage).images
        for n in range(begin, begin + 8):
            images.update(image.image_id, partial(Image.model_copy, update={"name": f"{n % 3}"}))

    threads = [threading.Thread(target=rename, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    images = Repositories(storage).images
    now = images.get(image.image_id)
    found = {name: images.find_by_name(name) for name in "012"}
    assert found == {name: [now] if name == now.name else [] for name in "012"}


@pytest.mark.parametrize(
    ("value", "version", "error"),
    [({"image_id": 1}, 1, CorruptRecordError), ({}, 99, SchemaVersionError)],
    ids=["damaged", "newer"],
)
def test_what_cannot_be_read_is_not_overwritten(
    storage: Storage, value: object, version: int, error: type[Exception]
) -> None:
    """A damaged or newer record is an error to every reader and writer, and stays (W-30)."""
    rev = storage.put_checkpoint("image:x", value, kind="torpor.image", version=version)
    images = Repositories(storage).images
    image = Image(image_id="x", container_id="c", session_id="s")
    attempts: list[Callable[[], object]] = [
        images.find_all,
        lambda: images.find_by_id("x"),
        lambda: images.save(image),
        lambda: images.delete("x"),
    ]
    for attempt in attempts:
        with pytest.raises(error):
            attempt()
    stored = storage.get_checkpoint("image:x")
    assert stored is not None
    assert stored.rev == rev


def test_an_answer_lost_before_a_rival_is_reported() -> None:
    """Whether a change was applied that another one followed is unknown, and said so."""
    inner = MemoryStorage()
    image = Repositories(inner).images.create("c")

    class Overtaken(FaultyStorage):
        def commit(self, changes: Sequence[Change]) -> list[Outcome]:
            try:
                return super().commit(changes)
            except Exception:
                Repositories(inner).images.update_metadata(image.image_id, {"rival": 1})
                raise

    faulty = Overtaken(inner)
    faulty.fail_next("commit", after=True)
    with pytest.raises(ConflictError) as raised:
        Repositories(faulty).images.update_metadata(image.image_id, {"mine": 1})
    assert raised.value.outcome == "unknown"
    assert Repositories(inner).images.get(image.image_id).metadata == {"mine": 1, "rival": 1}


def test_an_id_cannot_be_changed(repositories: Repositories) -> None:
    """A change that would move a record elsewhere is refused."""
    image = repositories.images.create("c")
    with pytest.raises(ValueError, match="image_id"):
        repositories.images.update(
            image.image_id, lambda found: found.model_copy(update={"image_id": "other"})
        )


def test_an_image_is_forked(repositories: Repositories) -> None:
    """A child has its parent's settings and messages, and a way of its own from there (AX-12)."""
    sessions, images = repositories.sessions, repositories.images
    parent = images.create("c", name="plan", system_prompt="be brief")
    kept = [sessions.add_message(parent.session_id, "user", n) for n in range(4)]
    child = images.fork(parent.image_id, name="plan b", through=kept[1].message_id)
    assert (child.parent_image_id, child.system_prompt) == (parent.image_id, "be brief")
    assert sessions.messages(child.session_id) == kept[:2]
    sessions.add_message(child.session_id, "user", "other")
    assert sessions.messages(parent.session_id) == kept
    assert images.find_by_parent(parent.image_id) == [child]
    assert images.find_by_name("plan b") == [child]
    with pytest.raises(NotFoundError, match="Message not found"):
        images.fork(parent.image_id, through="msg_none")
