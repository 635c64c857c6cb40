"""The messages of a session."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from torpor import NotFoundError, UnserializableError
from torpor.repositories import Repositories
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage import Change, Storage
    from torpor.storage.records import Outcome


@pytest.fixture
def session(repositories: Repositories) -> str:
    """Return the id of an empty session."""
    return repositories.images.create("c").session_id


def contents(repositories: Repositories, session: str) -> list[Any]:
    """Return what the messages of a session say."""
    return [message.content for message in repositories.sessions.messages(session)]


def test_messages_keep_their_order_and_content(repositories: Repositories, session: str) -> None:
    """What is added is there, in order, with all that it came with (AX-14)."""
    assert repositories.sessions.messages(session) == []
    added = [
        repositories.sessions.add_message(session, role, content, metadata={"n": n})
        for n, (role, content) in enumerate([("user", "hi"), ("assistant", {"text": ["ö"]})])
    ]
    assert repositories.sessions.messages(session) == added
    assert repositories.sessions.messages(session, tail=1) == added[1:]
    with pytest.raises(UnserializableError):
        repositories.sessions.add_message(session, "user", object())


def test_a_session_that_is_not_there(repositories: Repositories) -> None:
    """Reading its messages is [], adding one is an error (AX-14)."""
    assert repositories.sessions.messages("sess_none") == []
    with pytest.raises(NotFoundError, match="Session not found: sess_none"):
        repositories.sessions.add_message("sess_none", "user", "hi")


def test_messages_added_at_once_are_all_kept(
    storage: Storage, repositories: Repositories, session: str
) -> None:
    """Threads with repositories of their own add to one session: none is lost (AX-14, W-30)."""

    def add(name: int) -> None:
        sessions = Repositories(storage).sessions
        for n in range(10):
            sessions.add_message(session, "user", [name, n])

    threads = [threading.Thread(target=add, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = contents(repositories, session)
    assert len(found) == 40
    for name in range(4):
        assert [pair for pair in found if pair[0] == name] == [[name, n] for n in range(10)]


def test_adding_costs_the_same_however_many_there_are() -> None:
    """A message is appended, not written with all others (W-30)."""
    faulty = FaultyStorage(MemoryStorage(), record=True)
    repositories = Repositories(faulty)
    session = repositories.images.create("c").session_id
    sizes: list[int] = []
    for _ in range(200):
        faulty.batches.clear()
        repositories.sessions.add_message(session, "user", "hello")
        [[change]] = faulty.batches
        sizes.append(len(repr(change)))
    assert max(sizes) < 1.2 * min(sizes)


@pytest.mark.parametrize("after", [False, True])
def test_a_message_whose_answer_is_lost_is_added_once(*, after: bool) -> None:
    """Sent again, also when another writer came in between, a message is there once."""
    inner = MemoryStorage()
    session = Repositories(inner).images.create("c").session_id

    class Overtaken(FaultyStorage):
        def commit(self, changes: Sequence[Change]) -> list[Outcome]:
            try:
                return super().commit(changes)
            except Exception:
                Repositories(inner).sessions.add_message(session, "user", "rival")
                raise

    faulty = Overtaken(inner)
    for text in ("first", "second"):
        faulty.fail_next("commit", after=after)
        Repositories(faulty).sessions.add_message(session, "user", text)
    both = [["first", "rival"], ["second", "rival"]]
    found = contents(Repositories(inner), session)
    assert found == [text for pair in both for text in (pair if after else pair[::-1])]


def test_truncating_keeps_a_message_and_all_before_it(
    repositories: Repositories, session: str
) -> None:
    """What is behind it goes; an unknown message is an error and changes nothing (AX-15)."""
    added = [repositories.sessions.add_message(session, "user", n) for n in range(5)]
    with pytest.raises(NotFoundError, match="Message not found: msg_none"):
        repositories.sessions.truncate_after(session, "msg_none")
    assert contents(repositories, session) == list(range(5))
    repositories.sessions.truncate_after(session, added[2].message_id)
    assert repositories.sessions.messages(session) == added[:3]
    repositories.sessions.add_message(session, "user", "new")
    assert contents(repositories, session) == [0, 1, 2, "new"]


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_while_truncating_loses_no_history(*, after: bool) -> None:
    """It is one change: before it all messages are there, after it the kept ones (W-30)."""
    inner = MemoryStorage()
    repositories = Repositories(inner)
    session = repositories.images.create("c").session_id
    added = [repositories.sessions.add_message(session, "user", n) for n in range(4)]
    faulty = FaultyStorage(inner)
    faulty.fail_next("commit", error=OSError("the process ends"), after=after)
    with pytest.raises(OSError, match="ends"):
        Repositories(faulty).sessions.truncate_after(session, added[1].message_id)
    assert contents(repositories, session) == ([0, 1] if after else [0, 1, 2, 3])


def test_clearing(repositories: Repositories, session: str) -> None:
    """All messages go; new ones can be added (AX-14)."""
    repositories.sessions.add_message(session, "user", 1)
    repositories.sessions.clear_messages(session)
    assert repositories.sessions.messages(session) == []
    repositories.sessions.add_message(session, "user", 2)
    assert contents(repositories, session) == [2]


def test_a_deleted_session_takes_its_messages_along(
    repositories: Repositories, session: str
) -> None:
    """Record and messages go in one change; a new session of that id begins empty (AX-14)."""
    stored = repositories.sessions.get(session)
    repositories.sessions.add_message(session, "user", 1)
    repositories.sessions.delete(session)
    assert repositories.sessions.find_by_image(stored.image_id) == []
    repositories.sessions.save(stored)
    assert repositories.sessions.messages(session) == []


def test_saving_a_session_keeps_its_messages(repositories: Repositories, session: str) -> None:
    """The record can be replaced; its messages are its thread and stay (AX-14)."""
    repositories.sessions.add_message(session, "user", 1)
    repositories.sessions.save(repositories.sessions.get(session))
    assert contents(repositories, session) == [1]
