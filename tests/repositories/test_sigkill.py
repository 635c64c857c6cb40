"""Writers killed at random moments: what was acknowledged is found, and once."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.processes import PATIENCE, child
from torpor import Agent, hibernate, thaw
from torpor.repositories import Repositories
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from torpor.storage import Storage

SAVED = 3


class Diary(Agent, kind="diary"):
    """As many lines in its thread as its state says."""

    lines: int = 0


def kills(backend: str, count: int, *, slow: bool = False) -> object:
    """Return one parameter set of the test."""
    marks = [pytest.mark.slow, pytest.mark.timeout(900)] if slow else [pytest.mark.timeout(180)]
    return pytest.param(backend, count, marks=marks, id=f"{backend}-{count}")


@pytest.mark.parametrize(
    ("backend", "count"),
    [
        kills("sqlite", 5),
        kills("postgresql", 2),
        kills("sqlite", 30, slow=True),
        kills("postgresql", 10, slow=True),
    ],
)
def test_what_was_acknowledged_survives_kills(
    empty_place: Callable[[str], str], backend: str, count: int
) -> None:
    """Names find their images, messages are there once, a rewound agent is whole (W-30)."""
    url = empty_place(backend)
    chance = random.Random(f"repositories {backend} {count}")
    with open_storage(url) as storage:
        repositories = Repositories(storage)
        image = repositories.images.create("c", name="0")
        write_diary(storage, SAVED)
        repositories.branches.snapshot("diary/a", "saved")
    added: list[int] = []
    for life in range(count):
        with child(write_until_killed, url, image.image_id, life) as (process, reports):
            for _ in range(chance.randrange(1, 20)):
                assert reports.poll(PATIENCE), f"life {life}: nothing was written"
                added.append(reports.recv())
            process.join(chance.uniform(0, 0.02))
            process.kill()
            with suppress(EOFError, OSError):  # it may be killed while it tells
                while True:
                    added.append(reports.recv())
        with open_storage(url) as storage:
            check(Repositories(storage), image.image_id, added)
            diary = thaw(storage, Diary, "a")
            assert diary is not None
            assert [entry.payload for entry in diary.thread.entries()] == list(range(diary.lines))
            assert SAVED <= diary.lines <= SAVED + 1


def check(repositories: Repositories, image_id: str, added: list[int]) -> None:
    """See that index and record agree, and that every message that was told of is there once."""
    image = repositories.images.get(image_id)
    assert repositories.images.find_by_name(image.name) == [image]
    for found in repositories.images.find_all():
        assert found in repositories.images.find_by_name(found.name)
    for step in (-1, 1):  # the name before, and the one that may have been under way
        assert repositories.images.find_by_name(f"{int(image.name) + step}") == []
    stored = [message.content for message in repositories.sessions.messages(image.session_id)]
    assert len(stored) == len(set(stored)), "doubled"
    assert set(added) <= set(stored), "lost"
    assert len(stored) <= len(added) + len({number // 1_000_000 for number in stored})


def write_diary(storage: Storage, lines: int) -> None:
    """Store a diary of so many lines, in place of the one that is there."""
    diary = thaw(storage, Diary, "a")
    if diary is None:
        hibernate(storage, Diary(), "a")
        diary = thaw(storage, Diary, "a")
    assert diary is not None
    while diary.lines < lines:
        diary.thread.append("line", diary.lines)
        diary.lines += 1
    hibernate(storage, diary)


def write_until_killed(url: str, image_id: str, life: int, reports: Connection) -> None:
    """Rename an image, add a message, write a diary and rewind it, for ever; tell of messages."""
    with open_storage(url) as storage:
        repositories = Repositories(storage)
        number = life * 1_000_000
        while True:
            image = repositories.images.get(image_id)
            image.name = f"{int(image.name) + 1}"
            repositories.images.save(image)
            repositories.sessions.add_message(image.session_id, "user", number)
            reports.send(number)
            number += 1
            write_diary(storage, SAVED + 1)
            repositories.branches.rewind("diary/a", "saved")
