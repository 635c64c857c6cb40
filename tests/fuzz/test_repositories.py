"""Damaged records of repositories, their messages, and branches of damaged agents."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import ANYTHING, array_of, changed, junk, mutated, text_of
from tests.fuzz.kit import AGENT, fill, payloads_of, quiet, tampered
from tests.fuzz.test_section import FIELDS, SECTION
from torpor.repositories import Repositories
from torpor.storage.errors import TorporError, UnserializableError
from torpor.storage.memory import MemoryStorage
from torpor.system import join

if TYPE_CHECKING:
    from collections.abc import Callable


def states(sound: str) -> st.SearchStrategy[str]:
    """Return what may stand in place of a record's data."""
    return st.one_of(
        changed(json.loads(sound)).map(text_of),
        mutated(sound.encode()).map(lambda data: data.decode("utf-8", "replace")),
        junk.map(lambda data: data.decode("utf-8", "replace")),
    )


def _filled(storage: MemoryStorage) -> tuple[Repositories, dict[str, str]]:
    """Return repositories with a record each, and the keys of these."""
    repositories = Repositories(storage)
    fill(storage)
    repositories.containers.create("c", config={"a": [1]})
    image = repositories.images.create("c", name="n", metadata={"m": 1}, agent=AGENT)
    for number in range(3):
        repositories.sessions.add_message(
            image.session_id, "user", {"n": number}, message_id=f"m{number}"
        )
    ids = {"container": "c", "image": image.image_id, "session": image.session_id}
    return repositories, ids


def _data(kind: str) -> str:
    with MemoryStorage() as storage:
        _, ids = _filled(storage)
        found = storage.get_checkpoint(f"{kind}:{ids[kind]}")
        assert found is not None
        return found.data.replace(ids["image"], "IMAGE").replace(ids["session"], "SESSION")


SOUND = {kind: _data(kind) for kind in ("container", "image", "session")}
MESSAGES = [{"content": {"n": number}, "metadata": {}} for number in range(3)]


def use(repositories: Repositories, ids: dict[str, str]) -> None:
    """Do with the records all that can be done with them."""
    images, sessions, branches = repositories.images, repositories.sessions, repositories.branches
    container, image, session = ids["container"], ids["image"], ids["session"]
    for do in (
        lambda: repositories.containers.get(container),
        repositories.containers.find_all,
        lambda: repositories.containers.create(container),
        lambda: images.get(image),
        images.find_all,
        lambda: images.find_by_name("n"),
        lambda: images.find_by_container("c"),
        lambda: images.update_metadata(image, {"x": 1}),
        lambda: images.fork(image, through="m1"),
        lambda: images.start(image, "started"),
        sessions.find_all,
        lambda: sessions.find_by_image(image),
        lambda: sessions.messages(session),
        lambda: sessions.messages(session, tail=1),
        lambda: sessions.add_message(session, "user", "more"),
        lambda: sessions.truncate_after(session, "m1"),
        lambda: sessions.clear_messages(session),
        lambda: branches.snapshots(AGENT),
        lambda: branches.fork(AGENT, "forked"),
        lambda: branches.snapshot(AGENT, "again"),
        lambda: branches.rewind(AGENT, image),
        lambda: images.delete(image),
    ):
        with suppress(TorporError):
            do()
    quiet()


@given(data=st.data(), kind=st.sampled_from(sorted(SOUND)))
def test_record(data: st.DataObject, kind: str) -> None:
    """Whatever a record says: it is read, or a typed error, and then it is not overwritten."""
    state = data.draw(states(SOUND[kind]), "state")
    payloads: Any = data.draw(changed(MESSAGES) | st.none(), "messages")
    with MemoryStorage() as storage:
        repositories, ids = _filled(storage)
        key = f"{kind}:{ids[kind]}"
        messages = array_of(payloads) if kind == "session" else None
        if messages is not None and len(messages) != len(MESSAGES):
            messages = None
        state = state.replace("IMAGE", ids["image"]).replace("SESSION", ids["session"])
        _tamper(storage, key, state, messages)
        before = storage.get_checkpoint(key)
        use(repositories, ids)
        get: dict[str, Callable[[str], object]] = {
            "container": repositories.containers.get,
            "image": repositories.images.get,
            "session": repositories.sessions.get,
        }
        with suppress(TorporError):
            get[kind](ids[kind])
            return
        assert storage.get_checkpoint(key) in (before, None)


def _tamper(storage: MemoryStorage, key: str, state: str, payloads: list[Any] | None) -> None:
    try:
        tampered(storage, key, state, payloads)
    except (AssertionError, UnserializableError):  # which no storage takes: then the state alone
        tampered(storage, key, state)


AGENTS = st.one_of(
    changed(json.loads(SECTION)).map(lambda section: join(text_of(section), FIELDS)),
    states(join(SECTION, FIELDS)),
    ANYTHING.map(text_of),
)


@given(agent=AGENTS, snapshot=AGENTS | st.just(FIELDS))
def test_branches(agent: str, snapshot: str) -> None:
    """Branches of whatever is stored: copies, or typed errors, and the agent stays as it is."""
    with MemoryStorage() as storage:
        repositories, ids = _filled(storage)
        branches = repositories.branches
        branches.snapshot(AGENT, "s")
        tampered(storage, AGENT, agent)
        tampered(storage, "snapshot:counter%2Fa/s", snapshot)
        before = storage.get_checkpoint(AGENT)
        try:
            branches.rewind(AGENT, "s")
        except TorporError:
            assert storage.get_checkpoint(AGENT) == before
        else:
            rewound = storage.get_checkpoint(AGENT)
            assert rewound is not None
            assert rewound.data.startswith("{")
        with suppress(TorporError):
            branches.copy_snapshot(AGENT, "s", "other")
        use(repositories, ids)
        assert payloads_of(storage, AGENT)
